"""What a worker does for a container's networks: its interfaces, and its published ports."""

import json

from foundation.linux import os, whole_file
from foundation.linux.netlink import inside
from foundation.linux.opened import opened
from pyrund.launch.unpublish import take_back
from pyrund.model import network
from pyrund.net import bridge, ends, table
from pyrund.net.ends import End
from pyrund.net.ports import Published
from pyrund.net.resolver import open_sockets
from pyrund.spec.name_files import has_resolver, own_line, resolv_conf

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrund.model.container import Container


_LARGEST_FILE = 1 << 20


def connect(container: "Container", pid: int) -> "list[int]":
    """Give the network namespace of the process `pid` all that container.json says; return the sockets of its name
    server, [] if it needs none. Raises OSError and Error."""
    places = container.places
    known = ends_of(container)
    if not known:
        return []
    with opened(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as namespace:
        with bridge.Lock(places.run):
            ends.connect(namespace, list(known.values()))
            route(container, namespace, known, of_ipv6=False)
            if any(end.address6 for end in known.values()):
                route(container, namespace, known, of_ipv6=True)
            publish(container)
        return inside(namespace, open_sockets) if has_resolver(container) else []


def publish(container: "Container") -> None:
    """Put the container's published ports into the table of rules; whoever calls this has the lock."""
    places, ports = container.places, [Published(*one) for one in container.document["Ports"]]
    if not any(one.address for one in ports):
        return
    path = places.published(container.id)
    os.makedirs(os.path.dirname(path), 0o700, exist_ok=True)
    whole_file.replace(path, json.dumps([one.listed() for one in ports]).encode(), f"{places.run}/.{container.id}")
    table.publish(places.table, ports)


def publish_again(container: "Container") -> None:
    """Publish the ports of a running container, which are others now; whoever calls this has the lock."""
    take_back(container.places, container.id)
    publish(container)


def note_hosts(container: "Container", *addresses: str) -> None:
    """Add the container's own addresses to the /etc/hosts of the running container."""
    path = f"{container.places.bundle(container.id)}/hosts"
    with open(path, "ab") as file:
        lines = "".join(own_line(container, address) for address in addresses if address)
        file.write(lines.encode("utf-8", "surrogateescape"))


def forget_hosts(container: "Container", addresses: "list[str]") -> None:
    """Take the lines of the addresses out of it."""
    gone = {address.encode() for address in addresses}
    change_hosts(container, lambda lines: b"".join(line for line in lines if not set(line.split()[:1]) & gone))


def change_hosts(container: "Container", changed: "Callable[[list[bytes]], bytes]") -> None:
    """Let the /etc/hosts of the running container have what `changed` returns for its lines."""
    with open(f"{container.places.bundle(container.id)}/hosts", "rb+", buffering=0) as file:
        _write_in_place(file.fileno(), changed(file.read(_LARGEST_FILE).splitlines(keepends=True)))


def note_name_servers(container: "Container") -> None:
    """Change the /etc/resolv.conf of the running container, unless somebody has changed it already."""
    before, after = (
        resolv_conf(container, by).encode("utf-8", "surrogateescape")
        for by in (not has_resolver(container), has_resolver(container))
    )
    with open(f"{container.places.bundle(container.id)}/resolv.conf", "rb+", buffering=0) as file:
        if file.read(_LARGEST_FILE).rstrip() == before.rstrip():
            _write_in_place(file.fileno(), after)


def _write_in_place(fd: int, content: bytes) -> None:
    """Replace what a file has, which is mounted in a container and so cannot be another one.

    If we are killed before it has its new length, there are empty lines at its end.
    """
    os.pwrite(fd, content.ljust(os.fstat(fd).st_size, b"\n"), 0)
    os.ftruncate(fd, len(content))


def ends_of(container: "Container") -> "dict[str, End]":
    """Return the container's interfaces by the names of their networks, in their order."""
    found = {}
    for name, endpoint in container.endpoints.items():
        if endpoint.address:
            known = network.load(container.places, endpoint.settings["NetworkID"])
            found[name] = End(known.base(), endpoint.outside, endpoint.address, endpoint.address6, endpoint.mac)
    return found


def route(container: "Container", namespace: int, known: "dict[str, End]", of_ipv6: bool) -> None:
    """Let the running container have the default route that it shall have: of IPv6, by the same network as that of
    IPv4 if it can."""
    found = known.get(container.way_out)
    if of_ipv6 and not (found and found.address6):
        others = (end for _, end in sorted(known.items()) if end.address6 and not end.base.is_internal)
        found = next(others, None)
    ends.route(namespace, found, of_ipv6)
