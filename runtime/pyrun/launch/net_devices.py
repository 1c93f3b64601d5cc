"""linux.netDevices: interfaces of the host that become the container's (config-linux.md#network-devices)."""

import os

from pyrun.errors import Error
from pyrun.linux.netlink import Netlink
from pyrun.linux.sched import CLONE_NEWNET, setns


def move(devices: "dict[str, str]", pid: int) -> None:
    """Move interfaces, name on the host -> name in the container, into the network namespace of `pid`.

    They keep their global addresses that last, and are up. When the container ends, the kernel gives back those that
    are hardware, and ends the others.
    """
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    here, there = Netlink(), _open_in(namespace)
    for name, new_name in devices.items():
        try:
            _move(here, there, namespace, name, new_name)
        except OSError as error:
            raise Error(f'linux.netDevices: "{name}" cannot become "{new_name}": {error.strerror}') from error
    there.close()
    here.close()
    os.close(namespace)


def _open_in(namespace: int) -> Netlink:
    """Return a socket in `namespace`: this process enters it for that moment only."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    setns(namespace, CLONE_NEWNET)
    try:
        return Netlink()
    finally:
        setns(own, CLONE_NEWNET)
        os.close(own)


def _move(here: Netlink, there: Netlink, namespace: int, name: str, new_name: str) -> None:
    found = [index for index, other in here.interfaces().items() if other == name]
    if not found:
        raise Error(f'linux.netDevices: "{name}" is no network interface of the host')
    addresses = here.addresses(found[0])
    before = there.interfaces()
    if new_name in before.values():
        raise Error(f'linux.netDevices: "{name}" cannot become "{new_name}": the container has one of that name')
    here.move(found[0], namespace, new_name)
    # Its index can be another there, and its name too: "eth%d" is the first that is free.
    new = there.interfaces().keys() - before.keys()
    index = new.pop() if new else found[0]  # none is new where the namespace is the host's own
    for address in addresses:
        if address.is_global_and_permanent:
            there.add(index, address)
    there.bring_up(index)
