"""linux.netDevices: network interfaces that move from the host to the container (config-linux.md#network-devices)."""

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.netlink import Netlink, netlink_in


def move(devices: "dict[str, str]", pid: int) -> None:
    """Move `devices` (name on the host -> name in the container) into the network namespace of the process `pid`.

    They keep their permanent global addresses, and are brought up. When the container ends, the kernel moves physical
    interfaces back and deletes the others (network_namespaces(7)). Raises Error.
    """
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    here, there = Netlink(), netlink_in(namespace)
    try:
        for name, new_name in devices.items():
            try:
                _move(here, there, namespace, name, new_name)
            except OSError as error:
                raise Error(f'linux.netDevices: "{name}" cannot become "{new_name}": {error.strerror}') from error
    finally:
        there.close()
        here.close()
        os.close(namespace)


def _move(here: Netlink, there: Netlink, namespace: int, name: str, new_name: str) -> None:
    found = [index for index, other in here.interfaces().items() if other == name]
    if not found:
        raise Error(f'linux.netDevices: "{name}" is not a network interface of the host')
    addresses = here.addresses(found[0])
    before = there.interfaces()
    if new_name in before.values():
        raise Error(f'linux.netDevices: "{name}" cannot become "{new_name}": the container has one of that name')
    here.move(found[0], namespace, new_name)
    # The kernel may give the interface another index, and another name: it replaces "eth%d" by the first unused one.
    new = there.interfaces().keys() - before.keys()
    index = new.pop() if new else found[0]  # if the container is in the host's network namespace, none is new
    for address in addresses:
        if address.is_global_and_permanent:
            there.add(index, address)
    there.bring_up(index)
