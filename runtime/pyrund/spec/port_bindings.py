"""From PortBindings and ExposedPorts to the ports that shall be published."""

from pyrund.errors import ApiError
from pyrund.net.ports import Binding
from pyrund.net.subnet import usual

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]


def bindings(host_config: "Json", config: "Json", host_address: str = "", has_ipv6: bool = True) -> "list[Binding]":
    """Return what the client wants to be published, in the order of the ports, at `host_address` unless he names
    another one. `has_ipv6`: the container has an address of that. Raises ApiError."""
    found = []
    given = {name: listed or [] for name, listed in (host_config.get("PortBindings") or {}).items()}
    if host_config.get("PublishAllPorts"):
        given = {
            **{name: [{}] for name in config["ExposedPorts"]},
            **{name: all_ or [{}] for name, all_ in given.items()},
        }
    for protocol, port, name in sorted((*parsed(name), name) for name in given):
        for one in given[name]:
            address = str(one.get("HostIp") or host_address)
            first, last = _host_ports(str(one.get("HostPort") or ""))
            found.append(Binding(protocol, port, _addresses(address, has_ipv6), first, last))
    return found


def parsed(name: str) -> "tuple[str, int]":
    """Return ("tcp", 80) of "80/tcp" or "80". Raises ApiError."""
    port, _, protocol = name.partition("/")
    number = _number(port, port)
    if protocol.lower() not in ("", "tcp", "udp", "sctp"):
        raise ApiError(400, f'invalid port specification: "{name[:80]}"')
    return protocol.lower() or "tcp", number


def _host_ports(text: str) -> "tuple[int, int]":
    """Return (8000, 8010) of "8000-8010"; (0, 0) of ""."""
    return port_range(text) if text not in ("", "0") else (0, 0)


def port_range(text: str) -> "tuple[int, int]":
    """Return (8000, 8010) of "8000-8010", and (80, 80) of "80". Raises ApiError."""
    first, _, last = text.partition("-")
    low, high = _number(first, text), _number(last or first, text)
    if low > high:
        raise ApiError(400, f'invalid port specification: "{text[:80]}"')
    return low, high


def _number(digits: str, text: str) -> int:
    if not (digits.isascii() and digits.isdigit() and len(digits) < 6 and 0 < int(digits) < 1 << 16):
        raise ApiError(400, f'invalid port specification: "{text[:80]}"')
    return int(digits)


def _addresses(address: str, has_ipv6: bool) -> "list[str]":
    """Return at which addresses of the host a port is published: at all of them if the client names none."""
    if not address:
        return ["0.0.0.0", "::"] if has_ipv6 else ["0.0.0.0"]
    try:
        found = usual(address)
    except ValueError:
        raise ApiError(400, f"invalid IP address: {address[:80]}") from None
    return [found]
