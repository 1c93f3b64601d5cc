"""linux.netDevices: network interfaces that move from the host to the container (config-linux.md#network-devices)."""

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.netlink import Netlink, netlink_in
from foundation.linux.opened import opened

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from foundation.linux.netlink import Address

    ToUndo = Callable[[Callable[[], object]], object]


def move(devices: "dict[str, str]", pid: int, undo: "ToUndo") -> None:
    """Move `devices` (name on the host -> name in the container) into the network namespace of the process `pid`.

    They keep their permanent global addresses, and are brought up. When the container ends, the kernel moves physical
    interfaces back and deletes the others (network_namespaces(7)). So `undo` gets a step for each, which moves it back
    if the creation fails; the steps hold the sockets, which keep the namespace. Raises Error.
    """
    with opened(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as namespace:
        here, there = Netlink(), netlink_in(namespace)
        for name, new_name in devices.items():
            try:
                _move(here, there, namespace, name, new_name, undo)
            except OSError as error:
                raise Error(f'linux.netDevices: "{name}" cannot become "{new_name}": {error.strerror}') from error


def _move(here: Netlink, there: Netlink, namespace: int, name: str, new_name: str, undo: "ToUndo") -> None:
    found = [index for index, other in here.interfaces().items() if other == name]
    if not found:
        raise Error(f'linux.netDevices: "{name}" is not a network interface of the host')
    was_up = here.is_up(name)
    addresses = here.addresses(found[0])
    before = there.interfaces()
    if new_name in before.values():
        raise Error(f'linux.netDevices: "{name}" cannot become "{new_name}": the container has one of that name')
    here.move(found[0], namespace, new_name)
    # The kernel may give the interface another index, and another name: it replaces "eth%d" by the first unused one.
    new = there.interfaces().keys() - before.keys()
    index = new.pop() if new else found[0]  # if the container is in the host's network namespace, none is new

    def move_back() -> None:
        with opened(os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as own:
            there.move(index, own, name)
        _configure(here, here.index(name), addresses, was_up)

    undo(move_back)
    _configure(there, index, addresses, up=True)


def _configure(netlink: Netlink, index: int, addresses: "list[Address]", up: bool) -> None:
    for address in addresses:
        if address.is_global_and_permanent:
            netlink.add(index, address)
    if up:
        netlink.bring_up(index)
