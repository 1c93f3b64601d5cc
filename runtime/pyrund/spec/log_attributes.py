"""What `logs --details` shows before each line: the labels, variables and tag that the options of the log name.

dockerd writes them to each line of the log. Here they are read from the container, of which they never change.
"""

from pyrund.errors import ApiError
from pyrund.model.patterns import finder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from pyrund.model.container import Container

OPTIONS = ("labels", "labels-regex", "env", "env-regex", "tag")
_FIELDS = frozenset("ID FullID Name ImageID ImageFullID ImageName DaemonName".split())
_SHORT = 12  # digits of an id
_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~")


def check_tag(tag: str) -> None:
    """Raise ApiError for a template with more than fields of the container."""
    if wrong := next((name for name in _parts(tag)[1::2] if name not in _FIELDS), ""):
        known = " ".join(f"{{{{.{name}}}}}" for name in sorted(_FIELDS))
        raise ApiError(400, f"failed to parse log tag: {{{{.{wrong[:40]}}}}} is none of {known}")


def shown(container: "Container") -> str:
    """Return the attributes as docker shows them: key=value, escaped as in an address, between commas."""
    log = container.host_config["LogConfig"]
    found = dict(_attributes(container, log["Config"])) if log["Type"] == "json-file" else {}
    return ",".join(f"{_escaped(key)}={_escaped(value)}" for key, value in sorted(found.items()))


def _attributes(container: "Container", options: "Mapping[str, str]") -> "Iterator[tuple[str, str]]":
    config = container.config
    variables = dict(entry.split("=", 1) for entry in config["Env"] if "=" in entry)
    for kind, known in (("labels", config["Labels"]), ("env", variables)):
        names, pattern = options.get(kind, "").split(","), options.get(f"{kind}-regex", "")
        is_found = finder([pattern] if pattern else [])
        for name, value in known.items():
            if name in names or is_found(name):
                yield name, value
    if options.get("tag"):
        yield "tag", _tag(container, options["tag"])


def _tag(container: "Container", tag: str) -> str:
    image = container.document["Image"]
    fields = {
        "ID": container.id[:_SHORT],
        "FullID": container.id,
        "Name": container.name,
        "ImageID": image[:_SHORT],
        "ImageFullID": image,
        "ImageName": container.config["Image"],
        "DaemonName": "docker",
    }
    parts = _parts(tag)
    parts[1::2] = [fields[name] for name in parts[1::2]]
    return "".join(parts)


def _parts(tag: str) -> "list[str]":
    """Return texts, and between them the names of the fields that the template has there."""
    first, *others = tag.split("{{")
    found = [first]
    for other in others:
        name, _, text = other.partition("}}")
        found += [name.strip().removeprefix("."), text]
    return found


def _escaped(text: str) -> str:
    """Return the text as Go's url.QueryEscape."""
    escaped = (
        chr(one) if one in _PLAIN else "+" if one == 32 else f"%{one:02X}"
        for one in text.encode("utf-8", "surrogatepass")
    )
    return "".join(escaped)
