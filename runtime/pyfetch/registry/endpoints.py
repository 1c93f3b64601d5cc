"""Where an image can be fetched: the mirrors that the administrator has set up, then its own registry.

Sources: containers-registries.conf(5), version 2; containerd's docs/hosts.md; dockerd(8), registry-mirrors. A mirror
gets its own credentials, never the origin's. Digests verify its content; the administrator chooses whether it may
resolve tags.
"""

import ipaddress
import socket

from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.image.document import Configuration, read_configuration
from pyfetch.image.reference import DOCKER_HUB, Reference
from pyfetch.registry.addresses import ip_address, is_loopback
from pyfetch.registry.registries_conf import registries_conf
from pyfetch.registry.toml import parse_toml

HUB_API = "registry-1.docker.io"
_HOSTS_FOLDERS = ("/etc/containerd/certs.d", "/etc/docker/certs.d")
_IN_HEADER_NAME = frozenset("!#$%&'*+-.^_`|~0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ")


class Endpoint:
    """`host` is host[:port]; `scheme` is "https", "http", or "" if it must be detected; `path` is the API's prefix."""

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
    """Return the endpoints of `reference`, in the order in which they are tried."""
    found = _from_hosts_toml(reference) or _from_registries_conf(reference) or _from_daemon_json(reference)
    if insecure:
        _allow_anything(found[-1])
    return [e for e in found if not e.is_mirror or (e.resolves_digests if reference.digest else e.resolves_tags)]


def _allow_anything(endpoint: Endpoint) -> None:
    """Allow plain HTTP, and certificates that cannot be verified."""
    endpoint.verify = False
    endpoint.scheme = "" if endpoint.scheme == "https" else endpoint.scheme


def _origin(reference: Reference) -> Endpoint:
    host = HUB_API if reference.host == DOCKER_HUB else reference.host
    return Endpoint(host, reference.repository, "" if is_loopback(_without_port(host)) else "https")


def _without_port(host: str) -> str:
    return host.partition("]")[0].strip("[") if host.startswith("[") else host.partition(":")[0]


# containerd


def _from_hosts_toml(reference: Reference) -> "list[Endpoint]":
    home = os.environment.get("XDG_CONFIG_HOME") or os.path.join(os.home(), ".config")
    host, colon, port = reference.host.rpartition(":")
    # containerd's names of folders, in its order: not every file system allows a colon.
    names = [f"{host}_{port}_"] * bool(colon) + [reference.host, "_default"]
    for folder in (os.path.join(home, "containerd/certs.d"), *_HOSTS_FOLDERS):
        for name in names:
            path = os.path.join(folder, name, "hosts.toml")
            data = _read_of_daemon(path)
            if data is not None:
                return _hosts(parse_toml(data, path), path, reference)
    return []


def _hosts(document: Configuration, path: str, reference: Reference) -> "list[Endpoint]":
    hosts = document.object("host")
    found = [_host(url, hosts.object(url), path, reference) for url in document.keys("host")]
    for mirror in found:
        mirror.is_mirror = True
        mirror.query = f"?ns={reference.host}"
    server = document.string("server")
    origin = _origin(reference)
    found.append(_host(server or f"https://{origin.host}", document, path, reference))
    if not server:
        found[-1].scheme = origin.scheme
    return found


def _host(url: str, settings: Configuration, path: str, reference: Reference) -> Endpoint:
    scheme, separator, rest = url.partition("://")
    if not separator:
        scheme, rest = "https", url
    host, slash, prefix = rest.rstrip("/").partition("/")
    endpoint = Endpoint(HUB_API if host == DOCKER_HUB else host, reference.repository, scheme)
    prefix = (slash + prefix).removesuffix("/v2")
    endpoint.path = prefix if settings.boolean("override_path") else f"{prefix}/v2"
    if settings.has("capabilities"):
        capabilities = settings.strings("capabilities")
        endpoint.resolves_tags = "resolve" in capabilities
        endpoint.resolves_digests = "pull" in capabilities
    endpoint.verify = not settings.boolean("skip_verify")
    endpoint.authorities = [_beside(path, file.string("")) for file in settings.elements("ca")]
    for element in settings.elements("client"):
        certificate, key = _pair(element)
        endpoint.client_certificates.append((_beside(path, certificate), _beside(path, key)))
    headers = settings.object("header")
    endpoint.headers = {name: _header(headers, name) for name in settings.keys("header")}
    return endpoint


def _pair(element: Configuration) -> "tuple[str, str]":
    """Return a certificate and its key, which may be in one file."""
    names = [name.string("") for name in element.elements("")]
    if not 1 <= len(names) <= 2:
        raise element.error("", "expected a certificate and its key")
    return names[0], names[-1] or names[0]


def _header(headers: Configuration, name: str) -> str:
    value = ", ".join(element.string("") for element in headers.elements(name))
    if not name or not _IN_HEADER_NAME.issuperset(name) or any(not " " <= c <= "~" for c in value):
        raise headers.error(name, "cannot be sent as a header")
    return value


def _beside(path: str, file: str) -> str:
    return os.path.join(os.path.dirname(path), file)


# podman, skopeo, CRI-O


def _from_registries_conf(reference: Reference) -> "list[Endpoint]":
    name = f"{reference.host}/{reference.repository}"
    registry = max(_registries(), key=lambda r: _matched(r, name), default=None)
    if registry is None or not _matched(registry, name):
        return []
    if registry.boolean("blocked"):
        raise UsageError(f"{name}: the registry is blocked by registries.conf")
    mirrors = registry.objects("mirror")
    by_digest_only = registry.boolean("mirror-by-digest-only")
    return [*(_mirror(m, registry, name, by_digest_only) for m in mirrors), _location(registry, registry, name)]


def _mirror(settings: Configuration, registry: Configuration, name: str, by_digest_only: bool) -> Endpoint:
    mirror = _location(settings, registry, name)
    mirror.is_mirror = True
    kinds = "digest-only" if by_digest_only else settings.string("pull-from-mirror") or "all"
    if kinds not in ("all", "digest-only", "tag-only"):
        raise settings.error("pull-from-mirror", f"{kinds!r} is not one of all, digest-only, tag-only")
    mirror.resolves_tags = kinds != "digest-only"
    mirror.resolves_digests = kinds != "tag-only"
    return mirror


def _registries() -> "list[Configuration]":
    """Return the [[registry]] tables; the last one of a prefix counts."""
    by_prefix: dict[str, Configuration] = {}
    for document in registries_conf():
        if document.object("registries").object("block").has("registries"):
            raise document.error("registries.block", "is of version 1: write [[registry]] with blocked = true")
        for registry in document.objects("registry"):
            by_prefix[_prefix(registry)] = registry
    return list(by_prefix.values())


def _prefix(registry: Configuration) -> str:
    return registry.string("prefix") or registry.string("location")


def _matched(registry: Configuration, name: str) -> int:
    """Return how much of `name` the registry's prefix matches, or 0; the longest match counts."""
    prefix = _prefix(registry)
    if prefix.startswith("*."):
        host = name.partition("/")[0]
        return len(prefix) - 1 if host.endswith(prefix[1:]) else 0
    return len(prefix) if prefix and (name == prefix or name.startswith(f"{prefix}/")) else 0


def _location(settings: Configuration, registry: Configuration, name: str) -> Endpoint:
    prefix = _prefix(registry)
    covered = name.partition("/")[0] if prefix.startswith("*.") else prefix
    place = (settings.string("location") or covered) + name[len(covered) :]
    host, _, repository = place.partition("/")
    host = HUB_API if host == DOCKER_HUB else host
    endpoint = Endpoint(host, repository, "" if is_loopback(_without_port(host)) else "https")
    if settings.boolean("insecure"):
        _allow_anything(endpoint)
    return endpoint


# docker


daemon_json = "/etc/docker/daemon.json"  # an engine may be told of another file


def _from_daemon_json(reference: Reference) -> "list[Endpoint]":
    document = Configuration.decode(_read_of_daemon(daemon_json) or b"{}", daemon_json)
    origin = _origin(reference)
    if any(_covers(place, reference.host) for place in document.strings("insecure-registries")):
        _allow_anything(origin)
    mirrors = [_host(url, Configuration({}, ""), "", reference) for url in document.strings("registry-mirrors")]
    for mirror in mirrors:
        mirror.is_mirror = True
    return [*mirrors, origin] if reference.host == DOCKER_HUB else [origin]


def _covers(place: str, host: str) -> bool:
    """Return whether an entry of insecure-registries, host[:port] or a network (CIDR), includes `host`."""
    if place.partition("://")[2] == host or place == host:
        return True
    if "/" not in place:
        return False
    try:
        network = ipaddress.ip_network(place, strict=False)
        name = _without_port(host)
        found = [ip_address(name)] if ip_address(name) else _resolved(name)
    except (ValueError, OSError):
        return False  # as dockerd, ignore a malformed network and an unknown host
    return any(address is not None and address in network for address in found)


def _resolved(name: str) -> "list[ipaddress.IPv4Address | ipaddress.IPv6Address | None]":
    return [ip_address(str(entry[4][0])) for entry in socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)]


def _read_of_daemon(path: str) -> "bytes | None":
    try:
        return read_configuration(path)
    except PermissionError:
        return None  # a daemon's file may be readable by root only
