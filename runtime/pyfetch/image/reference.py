"""Image references: their grammar and their defaults.

Grammar: distribution-spec, "Pulling manifests", and distribution's reference package, whose rule for hosts every tool
follows. References are checked before they become part of a URL: a valid one has no character with a meaning there.
"""

from itertools import groupby

from pyfetch.errors import UsageError
from pyfetch.image.digest import is_digest

DOCKER_HUB = "docker.io"
HUB_ALIASES = ("index.docker.io", "registry-1.docker.io")

_DIGITS = frozenset("0123456789")
_LOWER = _DIGITS | frozenset("abcdefghijklmnopqrstuvwxyz")
_LETTERS = _LOWER | frozenset("ABCDEFGHIJKLMNOPQRSTUVWXYZ")
_IN_TAG = _LETTERS | frozenset("._-")
_MAXIMUM_TAG = 128


class Reference:
    """host/repository[:tag][@digest]; if there are both, the digest decides and the tag is only a label."""

    def __init__(self, host: str, repository: str, tag: str, digest: str) -> None:
        self.host = host
        self.repository = repository
        self.tag = tag
        self.digest = digest

    @property
    def version(self) -> str:
        """What the registry is asked for."""
        return self.digest or self.tag

    def __str__(self) -> str:
        return f"{self.host}/{self.repository}{self._suffix()}"

    def familiar(self) -> str:
        """Return the name as users of docker write it, without defaults."""
        return self.familiar_repository() + self._suffix()

    def familiar_repository(self) -> str:
        """Return the same without tag and digest."""
        if self.host == DOCKER_HUB:
            return self.repository[len("library/") :] if _is_official(self.repository) else self.repository
        return f"{self.host}/{self.repository}"

    def _suffix(self) -> str:
        return (f":{self.tag}" if self.tag else "") + (f"@{self.digest}" if self.digest else "")


def parse_reference(text: str) -> Reference:
    """Parse `text`; raise UsageError. The default tag is `latest`, unless there is a digest; the host, Docker Hub."""
    name, _, digest = text.partition("@")
    if "@" in text and not is_digest(digest):
        raise _invalid(text, f"{digest!r} is not a sha256 or sha512 digest")
    tag = ""
    if ":" in name.rpartition("/")[2]:
        name, _, tag = name.rpartition(":")
        if not _is_tag(tag):
            raise _invalid(text, f"{tag[:140]!r} is not a tag")
    host, repository = _split_host(name)
    _check(text, host, repository)
    return Reference(host, repository, tag or ("" if digest else "latest"), digest)


def _split_host(name: str) -> "tuple[str, str]":
    first, _, rest = name.partition("/")
    host, repository = (first, rest) if has_host(name) else (DOCKER_HUB, name)
    if host in HUB_ALIASES:
        host = DOCKER_HUB
    if host == DOCKER_HUB and "/" not in repository:
        repository = f"library/{repository}"
    return host, repository


def has_host(name: str) -> bool:
    """Return whether the first component is a host, because it could not be a part of a repository's name."""
    first, slash, _ = name.partition("/")
    return bool(slash) and (bool(set(".:[") & set(first)) or first == "localhost" or first != first.lower())


def _check(text: str, host: str, repository: str) -> None:
    if not is_registry(host):
        is_path = text.startswith((".", "/"))
        way_out = f": for a file, oci-archive:{text} or docker-archive:{text}" if is_path else ""
        raise _invalid(text, f"{host!r} is not a host{way_out}")
    if not _is_repository(repository):
        lower = _is_repository(repository.lower())
        raise _invalid(
            text, "repository name must be lowercase" if lower else f"{repository!r} is not a repository name"
        )
    if len(host) + 1 + len(repository) > 255:
        raise _invalid(text, "the name is longer than 255 characters")


# The grammar, without `re`, whose import takes a quarter of a pull from the store.


def _is_tag(text: str) -> bool:
    """[A-Za-z0-9_][A-Za-z0-9._-]{0,127}"""
    return 0 < len(text) <= _MAXIMUM_TAG and text[0] not in ".-" and _IN_TAG.issuperset(text)


def _is_repository(text: str) -> bool:
    """component(/component)*"""
    return all(map(_is_component, text.split("/")))


def _is_component(text: str) -> bool:
    r"""[a-z0-9]+((\.|_|__|-+)[a-z0-9]+)*"""
    runs = ["".join(run) for _, run in groupby(text, _LOWER.__contains__)]
    separators = runs[1::2]
    begins_and_ends = text[:1] in _LOWER and text[-1:] in _LOWER
    return begins_and_ends and all(s in (".", "_", "__") or not s.strip("-") for s in separators)


def is_registry(text: str) -> bool:
    """Return whether `text` can be the host of a registry: label(.label)*, or an IPv6 address in brackets; [:port]."""
    name, bracket, rest = text.partition("]")
    if not bracket:
        name, colon, port = text.partition(":")
        is_name = all(map(_is_label, name.split(".")))
    else:
        colon, port = rest[:1], rest[1:]
        is_name = name[:1] == "[" and len(name) > 1 and not name[1:].strip("0123456789abcdefABCDEF:")
    return is_name and (_is_port(port) if colon == ":" else not colon)


def _is_port(text: str) -> bool:
    return 0 < len(text) <= 5 and _DIGITS.issuperset(text) and 0 < int(text) < 65536


def _is_label(text: str) -> bool:
    """[a-zA-Z0-9]([a-zA-Z0-9-]*[a-zA-Z0-9])?"""
    return text[:1] in _LETTERS and text[-1:] in _LETTERS and _LETTERS.issuperset(text.replace("-", ""))


def _is_official(repository: str) -> bool:
    return repository.startswith("library/") and repository.count("/") == 1


def _invalid(text: str, why: str) -> UsageError:
    return UsageError(f"invalid reference format: {text!r}: {why}")
