"""<linux/rtnetlink.h>: network interfaces and their addresses, by rtnetlink(7)."""

import _socket  # the C part alone: `import socket` costs 3 to 4 ms
import os

_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_RTM_NEWLINK, _RTM_GETLINK, _RTM_SETLINK, _RTM_NEWADDR, _RTM_GETADDR = 16, 18, 19, 20, 22
_NLM_F_REQUEST, _NLM_F_ACK, _NLM_F_DUMP, _NLM_F_EXCL, _NLM_F_CREATE = 1, 4, 0x300, 0x200, 0x400
_IFLA_IFNAME, _IFLA_NET_NS_FD = 3, 28
_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST, _IFA_FLAGS = 1, 2, 4, 8
_IFF_UP = 1
_IFA_F_PERMANENT = 0x80
_HEADER, _LINK, _ADDRESS = 16, 16, 8  # sizes of struct nlmsghdr, ifinfomsg, ifaddrmsg
_BUFFER = 1 << 18
# IFA_F_NODAD, MANAGETEMPADDR, NOPREFIXROUTE, MCAUTOJOIN: what was asked for, not what the kernel found
_WANTED_FLAGS = 0x02 | 0x100 | 0x200 | 0x400


class Address:
    """An address of an interface, as the kernel tells it and takes it."""

    def __init__(self, message: bytes) -> None:
        self.family, self.prefix, flags, self.scope = message[:4]
        self.index = int.from_bytes(message[4:8], "little")
        attributes = _attributes(message[_ADDRESS:])
        self.flags = int.from_bytes(attributes.get(_IFA_FLAGS, bytes([flags])), "little")
        self._kept = {
            kind: attributes[kind] for kind in (_IFA_ADDRESS, _IFA_LOCAL, _IFA_BROADCAST) if kind in attributes
        }

    @property
    def is_global_and_permanent(self) -> bool:
        return self.scope == 0 and bool(self.flags & _IFA_F_PERMANENT)

    def message(self, index: int) -> bytes:
        """Return the struct ifaddrmsg, with attributes, that gives the address to the interface `index`."""
        flags = _attribute(_IFA_FLAGS, (self.flags & _WANTED_FLAGS).to_bytes(4, "little"))
        head = bytes([self.family, self.prefix, 0, self.scope]) + index.to_bytes(4, "little")
        return head + flags + b"".join(_attribute(kind, value) for kind, value in self._kept.items())


class Netlink:
    """A socket in the network namespace that this process was in when it was opened: it stays there."""

    def __init__(self) -> None:
        self._socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, 0)  # NETLINK_ROUTE
        self._socket.bind((0, 0))

    def close(self) -> None:
        self._socket.close()

    def interfaces(self) -> "dict[int, str]":
        """Return the names of the interfaces by index."""
        found = {}
        for message in self._ask(_RTM_GETLINK, _NLM_F_DUMP, bytes(_LINK)):
            name = _attributes(message[_LINK:])[_IFLA_IFNAME].rstrip(b"\0")
            found[int.from_bytes(message[4:8], "little")] = os.fsdecode(name)
        return found

    def addresses(self, index: int) -> "list[Address]":
        found = [Address(message) for message in self._ask(_RTM_GETADDR, _NLM_F_DUMP, bytes(_ADDRESS))]
        return [address for address in found if address.index == index]

    def move(self, index: int, namespace: int, name: str) -> None:
        """Move an interface into the network namespace `namespace`, where it gets `name`; takes it down."""
        attributes = _attribute(_IFLA_NET_NS_FD, namespace.to_bytes(4, "little"))
        attributes += _attribute(_IFLA_IFNAME, os.fsencode(name) + b"\0")
        self._ask(_RTM_SETLINK, _NLM_F_ACK, _link(index) + attributes)

    def bring_up(self, index: int) -> None:
        self._ask(_RTM_NEWLINK, _NLM_F_ACK, _link(index, _IFF_UP))

    def add(self, index: int, address: Address) -> None:
        self._ask(_RTM_NEWADDR, _NLM_F_ACK | _NLM_F_CREATE | _NLM_F_EXCL, address.message(index))

    def _ask(self, kind: int, flags: int, content: bytes) -> "list[bytes]":
        """Send a request and return what the messages of its answer hold. Raises the OSError that is the answer."""
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
                        raise OSError(errno, os.strerror(errno))
                    return found
                found.append(message)
                packet = packet[_aligned(length) :]


def _link(index: int, up: int = 0) -> bytes:
    """Return a struct ifinfomsg."""
    return bytes(4) + b"".join(value.to_bytes(4, "little") for value in (index, up, up))


def _attribute(kind: int, value: bytes) -> bytes:
    size = 4 + len(value)
    return (size.to_bytes(2, "little") + kind.to_bytes(2, "little") + value).ljust(_aligned(size), b"\0")


def _attributes(data: bytes) -> "dict[int, bytes]":
    found = {}
    while len(data) >= 4:
        size = max(int.from_bytes(data[:2], "little"), 4)
        found[int.from_bytes(data[2:4], "little") & 0x3FFF] = data[4:size]  # less NLA_F_NESTED and its kin
        data = data[_aligned(size) :]
    return found


def _aligned(size: int) -> int:
    return (size + 3) & ~3
