"""Bridges, and a container's way to them. Workers call this: nothing here is known to the daemon.

      container ── eth0 ══ vethXXXXXXX ── bridge ── (masquerade) ── the host's networks

All of it can be made again at any time: what is there stays. A pair of interfaces ends with the container's network
namespace, so that nothing is left after a kill.
"""

import errno
import fcntl

from foundation.errors import Error
from foundation.linux import os, whole_file
from foundation.linux.netlink import Netlink, inside, netlink_in
from pyrund.net.subnet import Subnet, mac_bytes, packed, shown

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

DEFAULT = "pyrund0"
GROUP = 0x7079  # of the interfaces that any engine has made: see `ip link show group 28793`
_FORWARDING = {"ipv4": "/proc/sys/net/ipv4/ip_forward", "ipv6": "/proc/sys/net/ipv6/conf/all/forwarding"}
_INTERFACES_OF_IPV6 = "/proc/sys/net/ipv6/conf"
_ROUTES_LOOPBACK = "/proc/sys/net/ipv4/conf/{}/route_localnet"
_DETECTS_DUPLICATES = "/proc/sys/net/ipv6/conf/{}/accept_dad"
_HAS_NO_IPV6 = "/proc/sys/net/ipv6/conf/{}/disable_ipv6"
_OUR_FORWARDING = {"ipv4": "forwarding", "ipv6": "forwarding6"}  # files in /run: it was we who switched it on


class Bridge:
    """What a network is on the host.

    is_internal        nothing leads out of it, or into it
    joins_containers   they reach each other, not only the world
    masquerades        they reach the world with the host's address
    """

    def __init__(self, name: str, subnet: Subnet, gateway: str) -> None:
        self.name = name
        self.subnet = subnet
        self.gateway = gateway
        self.subnet6: Subnet | None = None
        self.gateway6 = ""
        self.is_internal = False
        self.joins_containers = True
        self.masquerades = True
        self.mtu = 0  # 0: the kernel's default


class End:
    """A container's interface on a bridge; `outside` is the name of the other end."""

    def __init__(self, bridge: Bridge, outside: str, address: str, address6: str, mac: str) -> None:
        self.bridge = bridge
        self.outside = outside
        self.address = address
        self.address6 = address6  # "" if it has none
        self.mac = mac


class Lock:
    """Whoever changes interfaces or the table has it. `run` is the folder of what does not outlive a reboot."""

    def __init__(self, run: str) -> None:
        self._path = f"{run}/network"
        self._fd = -1

    def __enter__(self) -> "Lock":
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
        fcntl.flock(self._fd, fcntl.LOCK_EX)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def make(bridge: Bridge) -> int:
    """Make the bridge if it is missing; return its index. Raises OSError, and Error if its name is taken."""
    here = Netlink()
    try:
        found = here.index(bridge.name)
        if not found:
            here.make_bridge(bridge.name, GROUP, bridge.mtu)
            found = here.index(bridge.name)
        _check_kind(here, bridge.name)
        _assign(here, found, bridge.gateway, bridge.subnet)
        if here.group(bridge.name) == GROUP or bridge.subnet6:  # one that the user has made may have IPv6 for him
            _allow_ipv6(bridge.name, bool(bridge.subnet6))
        if bridge.subnet6:
            # Else its link-local address, by which it asks for its neighbours, is of no use for the first seconds.
            _write(_DETECTS_DUPLICATES.format(bridge.name), b"0")
            _assign(here, found, bridge.gateway6, bridge.subnet6)
        here.bring_up(found)
    finally:
        here.close()
    _write(_ROUTES_LOOPBACK.format(bridge.name), b"1")
    return found


def exists(name: str) -> bool:
    here = Netlink()
    try:
        return here.index(name) != 0
    finally:
        here.close()


def is_name(name: str) -> bool:
    """Return whether the kernel takes the name for an interface (dev_valid_name)."""
    return (
        0 < len(os.fsencode(name)) < 16
        and name not in (".", "..", "all", "default")
        and not set(name) & set("/: \t\n\r\v\f\0")
    )


def found(name: str) -> "tuple[Subnet, str] | None":
    """Return the subnet and the address of IPv4 of the bridge, None if it is missing or has none. Raises OSError, and
    Error if the interface is not a bridge."""
    here = Netlink()
    try:
        index = here.index(name)
        if index:
            _check_kind(here, name)
        for one in here.addresses(index) if index else []:
            if len(one.value) == 4:
                whole = Subnet(int.from_bytes(one.value, "big"), one.prefix)
                return Subnet(whole.base & whole.mask, one.prefix), shown(whole.base)
        return None
    finally:
        here.close()


def _check_kind(here: Netlink, name: str) -> None:
    if not here.is_bridge(name):
        raise Error(f"existing interface {name} is not a bridge")


def remove(name: str) -> None:
    """Remove an interface, if it is there: a bridge, or the outer end of a container's. Raises OSError."""
    here = Netlink()
    try:
        here.remove(name)
    except OSError as error:
        if error.errno != errno.ENODEV:
            raise
    finally:
        here.close()


def remove_ours(name: str) -> None:
    """Remove a bridge, if an engine has made it. Raises OSError."""
    here = Netlink()
    try:
        is_ours = here.index(name) and here.group(name) == GROUP
    finally:
        here.close()
    if is_ours:
        remove(name)


def connect(pid: int, ends: "list[End]") -> None:
    """Give the network namespace of the process `pid` an interface for each of `ends`. The bridges are made if they are
    missing. Raises OSError."""
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    here, there = Netlink(), netlink_in(namespace)
    try:
        for end in ends:
            _add(here, there, namespace, end)
    except BaseException:
        for end in ends:
            remove(end.outside)
        raise
    finally:
        here.close()
        there.close()
        os.close(namespace)


def _add(here: Netlink, there: Netlink, namespace: int, end: End) -> None:
    name, bridge = _free_name(there), end.bridge
    on = here.index(bridge.name) or make(bridge)
    here.make_pair(end.outside, on, name, mac_bytes(end.mac), namespace, bridge.mtu)
    here.set_port(end.outside, isolated=not bridge.joins_containers)
    if not end.address6:
        inside(namespace, lambda: _allow_ipv6(name, False))
    index = there.index(name)
    there.assign(index, packed(end.address), bridge.subnet.prefix)
    there.bring_up(index)
    if end.address6 and bridge.subnet6:
        there.assign(index, packed(end.address6), bridge.subnet6.prefix)


def route(pid: int, way_out: "End | None", of_ipv6: bool) -> None:
    """Let the network namespace of the process `pid` have the default route by this interface, and no other.

    Raises OSError.
    """
    namespace = os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    there = netlink_in(namespace)
    try:
        try:
            there.route_none(of_ipv6)
        except ProcessLookupError:
            pass
        if way_out and of_ipv6:
            _route(there, way_out.address6, way_out.bridge.gateway6)
        elif way_out:
            _route(there, way_out.address, way_out.bridge.gateway)
    finally:
        there.close()
        os.close(namespace)


def _route(there: Netlink, address: str, gateway: str) -> None:
    for index in there.interfaces():
        if any(one.value == packed(address) for one in there.addresses(index)):
            there.route_all(packed(gateway), index)
            return


def repair(bridge: Bridge, outside: str) -> None:
    """Put the outer end of a running container's interface on its bridge again, if somebody has removed that."""
    here = Netlink()
    try:
        here.put_on_bridge(outside, make(bridge))
        here.set_port(outside, isolated=not bridge.joins_containers)
    except OSError as error:
        if error.errno != errno.ENODEV:  # the container has just ended, or has removed its interface
            raise
    finally:
        here.close()


def forward(run: str, with_ipv6: bool) -> "list[str]":
    """Let the host forward packets; return "ipv4" and "ipv6" for what it forwarded before we came. `run` is where we
    remember that."""
    return [kind for kind in _FORWARDING if _forwards(run, kind, kind == "ipv4" or with_ipv6)]


def _forwards(run: str, kind: str, is_wanted: bool) -> bool:
    path = f"{run}/{_OUR_FORWARDING[kind]}"
    if is_wanted and whole_file.read(_FORWARDING[kind]).strip() != b"1":
        whole_file.replace(path, b"", f"{run}/.{_OUR_FORWARDING[kind]}")
        if kind == "ipv6":
            _keep_routes_from_routers()
        _write(_FORWARDING[kind], b"1")
    return not os.path.exists(path)


def _keep_routes_from_routers() -> None:
    """A host that forwards IPv6 does not listen to routers any more, unless that is said (ip-sysctl: accept_ra)."""
    for name in os.listdir(_INTERFACES_OF_IPV6):
        path = f"{_INTERFACES_OF_IPV6}/{name}/accept_ra"
        if whole_file.read(path).strip() == b"1":
            _write(path, b"2")


def _assign(here: Netlink, index: int, address: str, subnet: Subnet) -> None:
    try:
        here.assign(index, packed(address), subnet.prefix)
    except FileExistsError:
        pass


def _allow_ipv6(interface: str, is_allowed: bool) -> None:
    """Let the interface have IPv6 if its network has. Else neighbours could reach it, and what listens on the host, by
    link-local addresses, and give it routes by router advertisements (CVE-2024-32473)."""
    try:
        _write(_HAS_NO_IPV6.format(interface), b"0" if is_allowed else b"1")
    except FileNotFoundError:
        if is_allowed:
            raise  # the kernel has no IPv6


def _free_name(there: Netlink) -> str:
    taken = set(there.interfaces().values())
    return next(name for name in _names() if name not in taken)


def _names() -> "Iterator[str]":
    number = 0
    while True:
        yield f"eth{number}"
        number += 1


def _write(path: str, value: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(value)
