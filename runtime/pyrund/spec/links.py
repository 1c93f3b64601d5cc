"""Links on the default bridge: by an alias a container knows another one, from its hosts file and its environment.

In networks of one's own a link is a name that the name server knows (model/endpoint.py).
"""

from pyrund.errors import ApiError
from pyrund.model.container import load
from pyrund.spec.port_bindings import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrund.model.container import Container

_FEWEST = 3  # ports one after the other for which there are variables of the range
_NOT_PASSED_ON = ("HOME", "PATH")


def split(text: str) -> "tuple[str, str]":
    """Return the name of the other container, and the alias, of "db:data"; also of what inspect shows of such a link,
    "/db:/web/data". Raises ApiError."""
    name, _, alias = text.partition(":")
    if name.startswith("/"):
        name, alias = name[1:], alias.rpartition("/")[2]
    alias = alias or name
    if not text:
        raise ApiError(400, "empty string specified for links")
    if ":" in alias or "/" in alias or "=" in alias or alias.split() != [alias]:
        raise ApiError(400, f"bad format for links: {text[:80]}")
    return name, alias


def host_lines(container: "Container") -> "dict[str, str]":
    """Return the lines of /etc/hosts for each alias."""
    lines = {}
    for alias, other, address in _others(container):
        names = dict.fromkeys((alias, other.config["Hostname"], other.name))
        lines[alias] = f"{address}\t{' '.join(names)}\n"
    return lines


def environment(container: "Container") -> "list[str]":
    """Return the variables that tell the container of the others' ports and variables."""
    found = []
    for alias, other, address in _others(container):
        prefix = alias.upper().replace("-", "_")
        found += [f"{prefix}_{entry}" for entry in _of_ports(other, address)]
        found.append(f"{prefix}_NAME=/{container.name}/{alias}")
        pairs = (entry.partition("=") for entry in other.config["Env"])
        found += [
            f"{prefix}_ENV_{name}={value}" for name, is_set, value in pairs if is_set and name not in _NOT_PASSED_ON
        ]
    return found


def _others(container: "Container") -> "Iterator[tuple[str, Container, str]]":
    """Yield (alias, container, its address) for each container that is linked and has an address."""
    for alias, id_ in container.links.items():
        other = load(container.places, id_)
        endpoint = other.endpoints.get("bridge") if other else None
        if other and endpoint and endpoint.address:
            yield alias, other, endpoint.address


def _of_ports(other: "Container", address: str) -> "Iterator[str]":
    exposed = sorted({parsed(name) for name in other.config["ExposedPorts"]})
    if exposed:
        protocol, port = min(exposed, key=lambda one: (one[1], one[0]))
        yield f"PORT={protocol}://{address}:{port}"
    for protocol, first, last in _ranges(exposed):
        prefix = f"PORT_{first}_{protocol.upper()}"
        yield f"{prefix}_START={protocol}://{address}:{first}"
        yield f"{prefix}_PORT_START={first}"
        yield f"{prefix}_END={protocol}://{address}:{last}"
        yield f"{prefix}_PORT_END={last}"
    for protocol, port in exposed:
        prefix = f"PORT_{port}_{protocol.upper()}"
        yield f"{prefix}={protocol}://{address}:{port}"
        yield f"{prefix}_ADDR={address}"
        yield f"{prefix}_PORT={port}"
        yield f"{prefix}_PROTO={protocol}"


def _ranges(exposed: "list[tuple[str, int]]") -> "Iterator[tuple[str, int, int]]":
    """Yield (protocol, first, last) where several ports come one after the other."""
    known = set(exposed)
    for protocol, first in exposed:
        last = first
        while (protocol, last + 1) in known:
            last += 1
        if (protocol, first - 1) not in known and last - first + 1 >= _FEWEST:
            yield protocol, first, last
