"""Where an image can be fetched: the mirrors that the administrator has set up, then its own registry.

Sources: containers-registries.conf(5), version 2; containerd's docs/hosts.md; dockerd(8), registry-mirrors. A mirror
gets its own credentials, never the origin's. What it serves is verified by digest; whether it may say which digest a
tag has is the administrator's choice.
"""

import json
import os

from pyfetch.errors import UsageError
from pyfetch.proxies import is_loopback
from pyfetch.reference import DOCKER_HUB, Reference
from pyfetch.toml import parse_toml

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_HUB_API = "registry-1.docker.io"
_HOSTS_FOLDERS = ("/etc/containerd/certs.d", "/etc/docker/certs.d")


class Endpoint:
    """`host` is host[:port], `scheme` "https", "http", or "" where it must be found out; `path` ends in /v2."""

    def __init__(self, host: str, repository: str, scheme: str = "https") -> None:
        self.host = host
        self.repository = repository
        self.scheme = scheme
        self.path = "/v2"
        self.query = ""
        self.verify = True
        self.resolves_tags = True
        self.resolves_digests = True
        self.is_mirror = False
        self.headers: dict[str, str] = {}
        self.authorities: list[str] = []
        self.client_certificates: list[tuple[str, str]] = []

    def __str__(self) -> str:
        return self.host


def endpoints_for(reference: Reference, insecure: bool) -> "list[Endpoint]":
    """Return where to fetch `reference`, in the order in which to try."""
    found = _from_hosts_toml(reference) or _from_registries_conf(reference) or [_origin(reference, insecure)]
    if reference.host == DOCKER_HUB and len(found) == 1:
        found = _from_daemon_json(reference) + found
    if insecure:
        found[-1].verify = False
        found[-1].scheme = "" if found[-1].scheme == "https" else found[-1].scheme
    return [e for e in found if (e.resolves_digests if reference.digest else e.resolves_tags or not e.is_mirror)]


def _origin(reference: Reference, insecure: bool = False) -> Endpoint:
    host = _HUB_API if reference.host == DOCKER_HUB else reference.host
    loopback = is_loopback(_without_port(host))
    return Endpoint(host, reference.repository, "" if loopback or insecure else "https")


def _without_port(host: str) -> str:
    return host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]


# containerd


def _from_hosts_toml(reference: Reference) -> "list[Endpoint]":
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    for folder in (os.path.join(home, "containerd/certs.d"), *_HOSTS_FOLDERS):
        for name in (reference.host, "_default"):
            path = os.path.join(folder, name, "hosts.toml")
            text = _read(path)
            if text is not None:
                return _hosts(parse_toml(text, path), path, reference)
    return []


def _hosts(document: "dict[str, Any]", path: str, reference: Reference) -> "list[Endpoint]":
    found = [_host(url, settings, path, reference) for url, settings in document.get("host", {}).items()]
    for mirror in found:
        mirror.is_mirror = True
        mirror.query = f"?ns={reference.host}"
    server = document.get("server")
    settings = {key: value for key, value in document.items() if key not in ("host", "server")}
    origin = _origin(reference)
    found.append(_host(server or f"https://{origin.host}", settings, path, reference))
    if not server:
        found[-1].scheme = origin.scheme
    return found


def _host(url: str, settings: "dict[str, Any]", path: str, reference: Reference) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "https", url
    host, slash, prefix = rest.rstrip("/").partition("/")
    endpoint = Endpoint(_HUB_API if host == DOCKER_HUB else host, reference.repository, scheme)
    prefix = (slash + prefix).removesuffix("/v2")
    endpoint.path = prefix if settings.get("override_path") else f"{prefix}/v2"
    capabilities = settings.get("capabilities", ["pull", "resolve"])
    endpoint.resolves_tags = "resolve" in capabilities
    endpoint.resolves_digests = "pull" in capabilities
    endpoint.verify = not settings.get("skip_verify", False)
    endpoint.authorities = [_beside(path, file) for file in _list(settings.get("ca", []))]
    for pair in _list(settings.get("client", [])):
        certificate, key = pair if isinstance(pair, list) else (pair, pair)
        endpoint.client_certificates.append((_beside(path, certificate), _beside(path, key)))
    for name, value in settings.get("header", {}).items():
        endpoint.headers[name] = ", ".join(_list(value))
    return endpoint


def _beside(path: str, file: str) -> str:
    return os.path.join(os.path.dirname(path), file)


def _list(value: "Any") -> "list[Any]":
    return value if isinstance(value, list) else [value]


# podman, skopeo, CRI-O


def _from_registries_conf(reference: Reference) -> "list[Endpoint]":
    name = f"{reference.host}/{reference.repository}"
    registry = max(_registries(), key=lambda r: _matched(r, name), default={})
    if not _matched(registry, name):
        return []
    if registry.get("blocked"):
        raise UsageError(f"{name}: the registry is blocked by registries.conf")
    found = [_location(mirror, registry, name) for mirror in registry.get("mirror", [])]
    for mirror, settings in zip(found, registry.get("mirror", [])):
        mirror.is_mirror = True
        kinds = "digest-only" if registry.get("mirror-by-digest-only") else settings.get("pull-from-mirror", "all")
        mirror.resolves_tags = kinds in ("all", "tag-only")
        mirror.resolves_digests = kinds in ("all", "digest-only")
    return [*found, _location(registry, registry, name)]


def _registries() -> "list[dict[str, Any]]":
    """Return the [[registry]] tables: the user's file replaces the system's; drop-ins of the same prefix come later."""
    home = os.environ.get("XDG_CONFIG_HOME") or os.path.join(os.path.expanduser("~"), ".config")
    own = os.path.join(home, "containers/registries.conf")
    main = os.environ.get("CONTAINERS_REGISTRIES_CONF") or (
        own if os.path.exists(own) else "/etc/containers/registries.conf"
    )
    files = [main]
    for folder in ("/etc/containers/registries.conf.d", f"{own}.d"):
        if os.path.isdir(folder):
            files += [os.path.join(folder, n) for n in sorted(os.listdir(folder)) if n.endswith(".conf")]
    by_prefix: dict[str, dict[str, Any]] = {}
    for path in files:
        text = _read(path)
        for registry in parse_toml(text, path).get("registry", []) if text else []:
            by_prefix[registry.get("prefix") or registry.get("location", "")] = registry
    return list(by_prefix.values())


def _matched(registry: "dict[str, Any]", name: str) -> int:
    """Return how much of `name` the registry's prefix covers, 0 for none: the longest wins."""
    prefix = registry.get("prefix") or registry.get("location", "")
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        return len(prefix) - 1 if host.endswith(prefix[1:]) else 0
    return len(prefix) if prefix and (name == prefix or name.startswith(f"{prefix}/")) else 0


def _location(settings: "dict[str, Any]", registry: "dict[str, Any]", name: str) -> Endpoint:
    prefix = registry.get("prefix") or registry.get("location", "")
    covered = name.partition("/")[0] if prefix.startswith("*.") else prefix
    place = (settings.get("location") or covered) + name[len(covered) :]
    host, _, repository = place.partition("/")
    host = _HUB_API if host == DOCKER_HUB else host
    insecure = bool(settings.get("insecure"))
    endpoint = Endpoint(host, repository, "" if insecure or is_loopback(_without_port(host)) else "https")
    endpoint.verify = not insecure
    return endpoint


# docker


def _from_daemon_json(reference: Reference) -> "list[Endpoint]":
    text = _read("/etc/docker/daemon.json")
    try:
        mirrors = json.loads(text).get("registry-mirrors", []) if text else []
    except (ValueError, AttributeError) as error:
        raise UsageError(f"/etc/docker/daemon.json: not a JSON object: {error}") from None
    found = [_host(url, {}, "", reference) for url in mirrors]
    for mirror in found:
        mirror.is_mirror = True
    return found


def _read(path: str) -> "str | None":
    try:
        with open(path, encoding="utf-8") as file:
            return file.read(1 << 20)
    except OSError:
        return None  # not there, or not for us: the tool whose file it is says nothing either
