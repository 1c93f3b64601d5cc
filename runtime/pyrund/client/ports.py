"""--publish and --expose: [[IP:]HOST:]CONTAINER[/PROTOCOL], where HOST and CONTAINER may be ranges."""

import _socket

from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    Bindings = dict[str, list[dict[str, str]]]

_PROTOCOLS = ("tcp", "udp", "sctp")


def bindings(texts: "list[str]") -> "Bindings":
    """Return PortBindings. Raises Refused."""
    found: Bindings = {}
    for text in texts:
        for port, binding in _bindings(_short(text)):
            found.setdefault(port, []).append(binding)
    return found


def exposed(texts: "list[str]") -> "list[str]":
    """Return the ports of --expose, each with its protocol. Raises Refused."""
    found = []
    for text in texts:
        if ":" in text:
            raise Refused(f"invalid port format for --expose: {text}", 125)
        ports, _, protocol = text.partition("/")
        first, last = _range(ports, text, "--expose")
        found += [f"{port}/{_protocol(protocol)}" for port in range(first, last + 1)]
    return found


def _bindings(text: str) -> "list[tuple[str, dict[str, str]]]":
    place, slash, protocol = text.partition("/")
    address, host, container = _parts(place)
    first, last = _range(container, container, "containerPort")
    protocol = _protocol(protocol)
    if not host:
        return [(f"{port}/{protocol}", _binding(address, "")) for port in range(first, last + 1)]
    host_first, host_last = _range(host, host, "hostPort")
    if first == last and host_first != host_last:
        return [(f"{first}/{protocol}", _binding(address, host))]  # one of the range
    if host_last - host_first != last - first:
        raise Refused(f"invalid ranges specified for container and host Ports: {container} and {host}", 125)
    return [
        (f"{first + step}/{protocol}", _binding(address, str(host_first + step))) for step in range(last - first + 1)
    ]


def _binding(address: str, port: str) -> "dict[str, str]":
    return {"HostIp": address, "HostPort": port}


def _parts(place: str) -> "tuple[str, str, str]":
    """Return (IP, host's port, container's port)."""
    rest, _, container = place.rpartition(":")
    address, _, host = rest.rpartition(":")
    address = address.strip("[]")
    if address and not _is_address(address):
        raise Refused(f"invalid IP address: {address}", 125)
    if not container:
        raise Refused(f"no port specified: {place}<empty>", 125)
    return address, host, container


def _is_address(text: str) -> bool:
    try:
        _socket.inet_pton(_socket.AF_INET6 if ":" in text else _socket.AF_INET, text)
    except OSError:
        return False
    return True


def _range(text: str, shown: str, what: str) -> "tuple[int, int]":
    first, dash, last = text.partition("-")
    for one in (first, last) if dash else (first,):
        if not (one.isascii() and one.isdigit() and int(one) < 1 << 16):
            raise Refused(f"invalid {what}: {shown}", 125)
    if dash and int(last) < int(first):
        raise Refused(f"invalid {what}: {shown}", 125)
    return int(first), int(last if dash else first)


def _protocol(text: str) -> str:
    if text.lower() not in ("", *_PROTOCOLS):
        raise Refused(f"invalid proto: {text}", 125)
    return text.lower() or "tcp"


def _short(text: str) -> str:
    """Return the short form of published=80,target=80,protocol=tcp,mode=host."""
    if "=" not in text:
        return text
    fields = dict(field.partition("=")[::2] for field in text.split(","))
    unknown = fields.keys() - {"published", "target", "protocol", "mode"}
    if unknown or "target" not in fields:
        raise Refused(f"invalid field in --publish {text}: expected target=, published=, protocol=, mode=", 125)
    published = f"{fields['published']}:" if fields.get("published") else ""
    return f"{published}{fields['target']}/{fields.get('protocol', 'tcp')}"
