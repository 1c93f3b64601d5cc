"""Bridges of the host. Workers call this: nothing here is known to the daemon.

      containers ── bridge ── (masquerade) ── the host's networks

Everything here can be made again at any time; what exists already stays as it is.
"""

import errno
import fcntl

from foundation.errors import Error
from foundation.linux import os, whole_file
from foundation.linux.netlink import Netlink
from pyrund.net.subnet import Subnet, packed, shown

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
            here.make(bridge.name, "bridge", group=GROUP, mtu=bridge.mtu)
            found = here.index(bridge.name)
        _check_kind(here, bridge.name)
        _assign(here, found, bridge.gateway, bridge.subnet)
        if here.group(bridge.name) == GROUP or bridge.subnet6:  # one that the user has made may have IPv6 for him
            allow_ipv6(bridge.name, bool(bridge.subnet6))
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


def allow_ipv6(interface: str, is_allowed: bool) -> None:
    """Let the interface have IPv6 if its network has. Else neighbours could reach it, and what listens on the host, by
    link-local addresses, and give it routes by router advertisements (CVE-2024-32473)."""
    try:
        _write(_HAS_NO_IPV6.format(interface), b"0" if is_allowed else b"1")
    except FileNotFoundError:
        if is_allowed:
            raise  # the kernel has no IPv6


def _write(path: str, value: bytes) -> None:
    with open(path, "wb", buffering=0) as file:
        file.write(value)
