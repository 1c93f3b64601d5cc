"""A container's interfaces. Workers call this, in the network namespace of the host.

      container ── eth0 ══ veth1a2b3c4 ── bridge        a pair
      container ── eth0 ── parent                       macvlan, ipvlan

Both ends of a pair, and an interface above a parent, end with the container's network namespace, so that nothing is
left after a kill.
"""

import errno

from foundation.linux.netlink import Netlink, inside, netlink_in
from pyrund.net import bridge, parent
from pyrund.net.bridge import Bridge, allow_ipv6
from pyrund.net.subnet import mac_bytes, packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrund.net.parent import Parent

_GROUP_DIGITS = 7


class End:
    """A container's interface in a network, of which `base` is what it is on the host.

    `outside` is the name of a pair's other end. Its digits are also the group of an interface above a parent, which has
    no other end by which it could be found again.
    """

    def __init__(self, base: "Bridge | Parent", outside: str, address: str, address6: str, mac: str) -> None:
        self.base = base
        self.outside = outside
        self.address = address
        self.address6 = address6  # "" if it has none
        self.mac = mac  # "" with ipvlan: the interface has the address of its parent


def connect(namespace: int, ends: "list[End]") -> None:
    """Give a container's network namespace, a descriptor, an interface for each of `ends`. Bridges and parents that
    are missing are made. Raises OSError and ApiError."""
    here, there = Netlink(), netlink_in(namespace)
    try:
        for end in ends:
            _add(here, there, namespace, end)
    except BaseException:
        for end in ends:
            _remove(there, end.outside)
        raise
    finally:
        here.close()
        there.close()


def _add(here: Netlink, there: Netlink, namespace: int, end: End) -> None:
    name, base = _free_name(there), end.base
    if isinstance(base, Bridge):
        on = here.index(base.name) or bridge.make(base)
        here.make_pair(end.outside, on, name, mac_bytes(end.mac), namespace, base.mtu)
        here.set_port(end.outside, isolated=not base.joins_containers)
    else:
        on, mac = parent.make(base), mac_bytes(end.mac) if end.mac else b""
        here.make(name, base.kind, base.data, parent=on, group=_group(end.outside), mac=mac, namespace=namespace)
    if not end.address6:
        inside(namespace, lambda: allow_ipv6(name, False))
    index = there.index(name)
    there.assign(index, packed(end.address), base.subnet.prefix)
    there.bring_up(index)
    if end.address6 and base.subnet6:
        there.assign(index, packed(end.address6), base.subnet6.prefix)


def disconnect(namespace: int, outside: str) -> None:
    """Take the interface of that End away from a container's network namespace, if it is there. Raises OSError."""
    there = netlink_in(namespace)
    try:
        _remove(there, outside)
    finally:
        there.close()


def _remove(there: Netlink, outside: str) -> None:
    bridge.remove(outside)
    try:
        there.remove_group(_group(outside))
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise


def _group(outside: str) -> int:
    return int(outside[-_GROUP_DIGITS:], 16) or 1  # an interface is in the group 0 unless it is given another


def route(namespace: int, way_out: "End | None", of_ipv6: bool) -> None:
    """Let a container's network namespace have the default route by this interface, and no other. Raises OSError."""
    there = netlink_in(namespace)
    try:
        try:
            there.route_none(of_ipv6)
        except ProcessLookupError:
            pass
        if way_out:
            address = way_out.address6 if of_ipv6 else way_out.address
            gateway = way_out.base.gateway6 if of_ipv6 else way_out.base.gateway
            _route(there, address, packed(gateway) if gateway else b"", of_ipv6)
    finally:
        there.close()


def _route(there: Netlink, address: str, gateway: bytes, of_ipv6: bool) -> None:
    for index in there.interfaces():
        if any(one.value == packed(address) for one in there.addresses(index)):
            there.route_all(index, gateway, of_ipv6)
            return


def _free_name(there: Netlink) -> str:
    taken = set(there.interfaces().values())
    return next(name for name in _names() if name not in taken)


def _names() -> "Iterator[str]":
    number = 0
    while True:
        yield f"eth{number}"
        number += 1
