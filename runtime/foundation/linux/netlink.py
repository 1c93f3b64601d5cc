"""<linux/rtnetlink.h>: network interfaces and their addresses, by rtnetlink(7)."""

import _socket  # only the C part: `import socket` costs 3 to 4 ms
from errno import ENODEV

from foundation.linux import os
from foundation.linux.sched import CLONE_NEWNET, setns

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    T = TypeVar("T")

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_DELLINK, _RTM_GETLINK, _RTM_SETLINK = 16, 17, 18, 19
_RTM_NEWADDR, _RTM_GETADDR, _RTM_NEWROUTE, _RTM_DELROUTE = 20, 22, 24, 25
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_EXCL, _NLM_F_CREATE = 1, 4, 0x300, 0x200, 0x400
_IFLA_ADDRESS, _IFLA_IFNAME, _IFLA_MTU, _IFLA_LINK, _IFLA_MASTER = 1, 3, 4, 5, 10
_IFLA_LINKINFO, _IFLA_GROUP, _IFLA_NET_NS_FD = 18, 27, 28
_IFLA_INFO_KIND, _IFLA_INFO_DATA, _VETH_INFO_PEER = 1, 2, 1
_IFLA_INFO_SLAVE_KIND, _IFLA_INFO_SLAVE_DATA, _IFLA_BRPORT_MODE, _IFLA_BRPORT_ISOLATED = 4, 5, 4, 33
_RTA_OIF, _RTA_GATEWAY = 4, 5
_RT_TABLE_MAIN, _RTPROT_STATIC, _RTN_UNICAST = 254, 4, 1
_RT_SCOPE_UNIVERSE, _RT_SCOPE_LINK, _RT_SCOPE_NOWHERE = 0, 253, 255
_AF_INET, _AF_INET6 = 2, 10
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFF_UP = 1
_IFA_F_NODAD, _IFA_F_PERMANENT = 0x02, 0x80
_HEADER, _LINK, _ADDRESS = 16, 16, 8  # sizes of struct nlmsghdr, ifinfomsg, ifaddrmsg
_BUFFER = 1 << 18
# IFA_F_NODAD, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN: flags that were configured, not set by the kernel itself
_WANTED_FLAGS = 0x02 | 0x100 | 0x200 | 0x400


class Address:
    """An address of an interface, decoded from a struct ifaddrmsg with attributes."""

    def __init__(self, message: bytes) -> None:
        self.family, self.prefix, flags, self.scope = message[:4]
        self.index = int.from_bytes(message[4:8], "little")
        found = attributes(message[_ADDRESS:])
        self.flags = int.from_bytes(found.get(_IFA_FLAGS, bytes([flags])), "little")
        self._kept = {kind: found[kind] for kind in (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST) if kind in found}

    @property
    def is_global_and_permanent(self) -> bool:
        """Whether it is neither link-local or host-local, nor assigned by the kernel for a limited time."""
        return self.scope == 0 and bool(self.flags & _IFA_F_PERMANENT)

    @property
    def value(self) -> bytes:
        """The address itself: 4 bytes, or 16 with IPv6."""
        return self._kept.get(_IFA_LOCAL) or self._kept.get(_IFA_ADDRESS, b"")

    def message(self, index: int) -> bytes:
        """Return a struct ifaddrmsg, with attributes, that assigns the address to the interface `index`."""
        flags = attribute(_IFA_FLAGS, (self.flags & _WANTED_FLAGS).to_bytes(4, "little"))
        head = bytes([self.family, self.prefix, 0, self.scope]) + index.to_bytes(4, "little")
        return head + flags + b"".join(attribute(kind, value) for kind, value in self._kept.items())


class Netlink:
    """A socket of NETLINK_ROUTE. It stays in the network namespace in which it was opened. Methods raise OSError."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)  # NETLINK_ROUTE
        self._socket.bind((0, 0))

    def close(self) -> None:
        """Close the socket; until then it keeps its network namespace alive."""
        self._socket.close()

    def interfaces(self) -> "dict[int, str]":
        """Return the names of the interfaces by index."""
        found = {}
        for message in self._ask(_RTM_GETLINK, _NLM_F_DUMP, bytes(_LINK)):
            name = attributes(message[_LINK:])[_IFLA_IFNAME].rstrip(b"\0")
            found[int.from_bytes(message[4:8], "little")] = os.fsdecode(name)
        return found

    def index(self, name: str) -> int:
        """Return the index of an interface, 0 if there is none of that name."""
        try:
            return int.from_bytes(self._find(name)[4:8], "little")
        except OSError as error:
            if error.errno == ENODEV:
                return 0
            raise

    def is_up(self, name: str) -> bool:
        """Return whether the interface has IFF_UP. ENODEV: there is none of that name."""
        return bool(self._find(name)[8] & _IFF_UP)  # ifi_flags of struct ifinfomsg

    def group(self, name: str) -> int:
        """Return the group of an interface. ENODEV: there is none of that name."""
        return int.from_bytes(attributes(self._find(name)[_LINK:]).get(_IFLA_GROUP, b""), "little")

    def is_bridge(self, name: str) -> bool:
        """Return whether the interface is a bridge. ENODEV: there is none of that name."""
        information = attributes(attributes(self._find(name)[_LINK:]).get(_IFLA_LINKINFO, b""))
        return information.get(_IFLA_INFO_KIND, b"").rstrip(b"\0") == b"bridge"

    def addresses(self, index: int) -> "list[Address]":
        """Return the addresses of the interface `index`."""
        found = [Address(message) for message in self._ask(_RTM_GETADDR, _NLM_F_DUMP, bytes(_ADDRESS))]
        return [address for address in found if address.index == index]

    def move(self, index: int, namespace: int, name: str) -> None:
        """Move an interface into the network namespace `namespace` (a descriptor), with a new name; it goes down."""
        attributes = attribute(_IFLA_NET_NS_FD, namespace.to_bytes(4, "little"))
        attributes += _name(name)
        self._ask(_RTM_SETLINK, _NLM_F_ACK, _link(index) + attributes)

    def bring_up(self, index: int) -> None:
        """Set IFF_UP."""
        self._ask(_RTM_NEWLINK, _NLM_F_ACK, _link(index, _IFF_UP))

    def add(self, index: int, address: Address) -> None:
        """Assign the address to the interface. EEXIST: it has it."""
        self._ask(_RTM_NEWADDR, _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL, address.message(index))

    def make(
        self,
        name: str,
        kind: str,
        data: bytes = b"",
        *,
        parent: int = 0,
        group: int = 0,
        mac: bytes = b"",
        mtu: int = 0,
        namespace: int = -1,
    ) -> None:
        """Make an interface of a `kind` such as "bridge", whose attributes `data` has.

        `parent` is the index, here, of the interface above which it is; `namespace` a descriptor of the network
        namespace that gets it instead of this one. EEXIST: there is an interface of that name.
        """
        content = _link(0) + _name(name) + attribute(_IFLA_GROUP, group.to_bytes(4, "little"))
        content += attribute(_IFLA_LINK, parent.to_bytes(4, "little")) if parent else b""
        content += attribute(_IFLA_ADDRESS, mac) if mac else b""
        content += _mtu(mtu) if mtu else b""
        content += attribute(_IFLA_NET_NS_FD, namespace.to_bytes(4, "little")) if namespace >= 0 else b""
        information = attribute(_IFLA_INFO_KIND, kind.encode() + b"\0") + attribute(_IFLA_INFO_DATA, data)
        content += attribute(_IFLA_LINKINFO, information)
        self._ask(_RTM_NEWLINK, _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL, content)

    def make_pair(self, name: str, bridge: int, peer: str, mac: bytes, namespace: int, mtu: int = 0) -> None:
        """Make a pair of interfaces: `name`, up and on the bridge with the index `bridge`, and `peer`, with the address
        `mac`, in the network namespace `namespace`, a descriptor. The end of either is the end of both."""
        size = _mtu(mtu) if mtu else b""
        other = _link(0) + _name(peer) + size + attribute(_IFLA_NET_NS_FD, namespace.to_bytes(4, "little"))
        data = attribute(_VETH_INFO_PEER, other + attribute(_IFLA_ADDRESS, mac))
        kind = attribute(_IFLA_INFO_KIND, b"veth\0") + attribute(_IFLA_INFO_DATA, data)
        content = _link(0, _IFF_UP) + _name(name) + size + attribute(_IFLA_MASTER, bridge.to_bytes(4, "little"))
        content += attribute(_IFLA_LINKINFO, kind)
        self._ask(_RTM_NEWLINK, _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL, content)

    def set_port(self, name: str, isolated: bool = False) -> None:
        """Let the bridge send packets back to the port `name` by which they came; `isolated`: and to no other one that
        is isolated."""
        data = attribute(_IFLA_BRPORT_MODE, b"\1") + attribute(_IFLA_BRPORT_ISOLATED, bytes([isolated]))
        kind = attribute(_IFLA_INFO_SLAVE_KIND, b"bridge\0") + attribute(_IFLA_INFO_SLAVE_DATA, data)
        self._ask(_RTM_NEWLINK, _NLM_F_ACK, _link(0) + _name(name) + attribute(_IFLA_LINKINFO, kind))

    def put_on_bridge(self, name: str, bridge: int) -> None:
        """Make the interface `name` a port of the bridge with the index `bridge`."""
        content = _link(0, _IFF_UP) + _name(name) + attribute(_IFLA_MASTER, bridge.to_bytes(4, "little"))
        self._ask(_RTM_NEWLINK, _NLM_F_ACK, content)

    def remove_group(self, group: int) -> None:
        """Remove all interfaces of the group. ENODEV: there is none."""
        self._ask(_RTM_DELLINK, _NLM_F_ACK, _link(0) + attribute(_IFLA_GROUP, group.to_bytes(4, "little")))

    def remove(self, name: str) -> None:
        """Remove an interface. ENODEV: there is none of that name."""
        self._ask(_RTM_DELLINK, _NLM_F_ACK, _link(0) + _name(name))

    def assign(self, index: int, address: bytes, prefix: int) -> None:
        """Assign an address of IPv4 or IPv6 to the interface, which has it at once. EEXIST: it has it."""
        head = bytes([_family(address), prefix, _IFA_F_NODAD, 0]) + index.to_bytes(4, "little")
        content = head + attribute(_IFA_LOCAL, address) + attribute(_IFA_ADDRESS, address)
        self._ask(_RTM_NEWADDR, _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL, content)

    def route_all(self, index: int, gateway: bytes, of_ipv6: bool = False) -> None:
        """Make the default route of IPv4 or IPv6 by the interface `index`, to the `gateway`; b"": all is reached there
        directly. EEXIST: there is one."""
        scope = _RT_SCOPE_UNIVERSE if gateway else _RT_SCOPE_LINK
        content = _default_route(_AF_INET6 if of_ipv6 else _AF_INET, scope)
        content += attribute(_RTA_GATEWAY, gateway) if gateway else b""
        content += attribute(_RTA_OIF, index.to_bytes(4, "little"))
        self._ask(_RTM_NEWROUTE, _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL, content)

    def route_none(self, of_ipv6: bool = False) -> None:
        """Remove the default route of IPv4, or of IPv6. ESRCH: there is none."""
        family = _AF_INET6 if of_ipv6 else _AF_INET
        self._ask(_RTM_DELROUTE, _NLM_F_ACK, _default_route(family, _RT_SCOPE_NOWHERE))

    def _find(self, name: str) -> bytes:
        """Return the struct ifinfomsg, with attributes, of an interface. ENODEV: there is none of that name."""
        return self._ask(_RTM_GETLINK, _NLM_F_ACK, _link(0) + _name(name))[0]

    def _ask(self, kind: int, flags: int, content: bytes) -> "list[bytes]":
        """Send a request and return the contents of the answer's messages. Raises OSError if the answer is an error."""
        size = (_HEADER + len(content)).to_bytes(4, "little")
        head = size + kind.to_bytes(2, "little") + (flags | _NLM_F_REQUEST).to_bytes(2, "little") + bytes(8)
        self._socket.send(head + content)
        found: list[bytes] = []
        while True:
            packet = self._socket.recv(_BUFFER)
            while packet:
                length = int.from_bytes(packet[:4], "little")
                answer = int.from_bytes(packet[4:6], "little")
                message = packet[_HEADER:length]
                if answer in (_NLMSG_ERROR, _NLMSG_DONE):
                    errno = -int.from_bytes(message[:4], "little", signed=True)
                    if errno > 0:
                        raise OSError(errno, os.strerror(errno), "rtnetlink")
                    return found
                found.append(message)
                packet = packet[_aligned(length) :]


def _link(index: int, up: int = 0) -> bytes:
    """Return a struct ifinfomsg."""
    return bytes(4) + b"".join(value.to_bytes(4, "little") for value in (index, up, up))


def _family(address: bytes) -> int:
    return _AF_INET if len(address) == 4 else _AF_INET6


def _default_route(family: int, scope: int) -> bytes:
    """Return a struct rtmsg."""
    return bytes([family, 0, 0, 0, _RT_TABLE_MAIN, _RTPROT_STATIC, scope, _RTN_UNICAST]) + bytes(4)


def _mtu(size: int) -> bytes:
    return attribute(_IFLA_MTU, size.to_bytes(4, "little"))


def _name(name: str) -> bytes:
    return attribute(_IFLA_IFNAME, os.fsencode(name) + b"\0")


def attribute(kind: int, value: bytes) -> bytes:
    """Return an attribute of any netlink message (struct nlattr)."""
    size = 4 + len(value)
    return (size.to_bytes(2, "little") + kind.to_bytes(2, "little") + value).ljust(_aligned(size), b"\0")


def attributes(data: bytes) -> "dict[int, bytes]":
    """Return the values of the attributes in `data`, by their kinds."""
    found = {}
    while len(data) >= 4:
        size = max(int.from_bytes(data[:2], "little"), 4)
        found[int.from_bytes(data[2:4], "little") & 0x3FFF] = data[4:size]  # without the flags NLA_F_*
        data = data[_aligned(size) :]
    return found


def _aligned(size: int) -> int:
    return (size + 3) & ~3


def netlink_in(namespace: int) -> Netlink:
    """Return a socket in the network namespace `namespace`."""
    return inside(namespace, Netlink)


def inside(namespace: int, do: "Callable[[], T]") -> "T":
    """Return what `do` returns, for which this thread enters the network namespace `namespace`."""
    own = os.open("/proc/self/ns/net", os.O_RDONLY | os.O_CLOEXEC)
    setns(namespace, CLONE_NEWNET)
    try:
        return do()
    finally:
        setns(own, CLONE_NEWNET)
        os.close(own)
