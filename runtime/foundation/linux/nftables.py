"""<linux/netfilter/nf_tables.h>: tables, chains, rules, sets and maps, changed by nfnetlink in one transaction."""

import _socket
import sys

from foundation.linux import os
from foundation.linux.netlink import attribute, attributes

_NETLINK_NETFILTER, _NFNL_SUBSYS_NFTABLES = 12, 10
_BATCH_BEGIN, _BATCH_END = 0x10, 0x11
_NEWTABLE, _GETTABLE, _DELTABLE, _NEWCHAIN, _GETCHAIN, _NEWRULE, _NEWSET, _NEWSETELEM, _DELSETELEM = (
    0,
    1,
    2,
    3,
    4,
    6,
    9,
    12,
    14,
)
_REQUEST, _ACK, _DUMP, _CREATE, _APPEND = 1, 4, 0x300, 0x400, 0x800
NESTED = 0x8000
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_HEADER = 16
_ANY, _INET, _IPV4 = 0, 1, 2  # NFPROTO_INET: IPv4 and IPv6
_SOL_SOCKET, _SO_SNDBUFFORCE = 1, 32
_BUFFER = 8 << 20

PREROUTING, INPUT, FORWARD, OUTPUT, POSTROUTING = range(5)
DROP, ACCEPT = 0, 1
# Types of keys, which only `nft list` reads, with their sizes in a set. Concatenated parts are padded to 4 bytes.
IPV4, IPV6, PROTOCOL, PORT, INTERFACE = (7, 4), (8, 16), (12, 1), (13, 2), (41, 16)
_BITS_OF_A_TYPE = 6
_INTERVAL, _MAP, _CONCATENATION = 4, 8, 0x80
_INTERVAL_END = 1
_COMMENT, _LONGEST_COMMENT = 0, 254  # of a table's user data, as libnftnl writes them
_ELEMENTS_AT_ONCE = 256  # an attribute has at most 64 KB

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

    Type = tuple[int, int]


class Transaction:
    """Changes of the table `table`, for IPv4 and IPv6, which commit() makes all at once, or not at all."""

    def __init__(self, table: str) -> None:
        self._table = attribute(1, text(table))
        self._messages: list[tuple[int, int, bytes]] = []
        self._sets = 0

    def make_anew(self, comment: str = "") -> None:
        """Make the table, empty, whether it exists or not. comment_of() finds the comment again."""
        self._add(_NEWTABLE, _CREATE, b"")
        self.remove()
        said = os.fsencode(comment)[:_LONGEST_COMMENT] + b"\0"
        self._add(_NEWTABLE, _CREATE, attribute(6, bytes([_COMMENT, len(said)]) + said))

    def remove(self) -> None:
        """Remove the table with all that is in it. ENOENT: there is none."""
        self._add(_DELTABLE, 0, b"")

    def chain(self, name: str, kind: str, hook: int, priority: int, policy: int = ACCEPT) -> None:
        """Add a base chain: `kind` is filter, nat or route, a lower `priority` comes first, and `policy` is for packets
        that no rule decides on."""
        place = attribute(1, number(hook)) + attribute(2, priority.to_bytes(4, "big", signed=True))
        content = attribute(3, text(name)) + attribute(4 | NESTED, place) + attribute(5, number(policy))
        self._add(_NEWCHAIN, _CREATE, content + attribute(7, text(kind)))

    def rule(self, chain: str, *expressions: bytes) -> None:
        """Append a rule: if all expressions match, the last one says what happens."""
        content = attribute(2, text(chain)) + attribute(4 | NESTED, b"".join(expressions))
        self._add(_NEWRULE, _CREATE | _APPEND, content)

    def set(self, name: str, *key: "Type", is_interval: bool = False) -> None:
        """Add a set, whose elements are of the type `key`, or ranges of it."""
        self._add_set(name, _INTERVAL if is_interval else 0, key, ())

    def map(self, name: str, key: "tuple[Type, ...]", data: "tuple[Type, ...]") -> None:
        """Add a map from `key` to `data`."""
        self._add_set(name, _MAP, key, data)

    def _add_set(self, name: str, flags: int, key: "tuple[Type, ...]", data: "tuple[Type, ...]") -> None:
        self._sets += 1
        content = attribute(2, text(name)) + attribute(10, number(self._sets))
        content += attribute(3, number(flags | (_CONCATENATION if len(key) > 1 else 0)))
        content += attribute(4, number(_type(key))) + attribute(5, number(_length(key)))
        if data:
            content += attribute(6, number(_type(data))) + attribute(7, number(_length(data)))
        if len(key) > 1:
            parts = (attribute(1 | NESTED, attribute(1, number(_padded(size)))) for _, size in key)
            content += attribute(9 | NESTED, attribute(2 | NESTED, b"".join(parts)))
        self._add(_NEWSET, _CREATE, content)

    def put(self, name: str, elements: "Iterable[tuple[bytes, bytes]]") -> None:
        """Put elements, as (key, data), into a map; or into a set, with b"" as data. EEXIST: the key has other data."""
        self._change(_NEWSETELEM, _CREATE, name, [_element(key, data) for key, data in elements])

    def put_range(self, name: str, first: bytes, end: bytes) -> None:
        """Put the range from `first` up to `end`, which is not in it, into a set of ranges."""
        ends = attribute(3, number(_INTERVAL_END))
        self._change(_NEWSETELEM, _CREATE, name, [_element(first), _element(end, more=ends)])

    def take(self, name: str, elements: "Iterable[tuple[bytes, bytes]]") -> None:
        """Take elements out of a set or map. ENOENT: one is not there."""
        self._change(_DELSETELEM, 0, name, [_element(key, data) for key, data in elements])

    def _change(self, kind: int, flags: int, name: str, elements: "list[bytes]") -> None:
        for start in range(0, len(elements), _ELEMENTS_AT_ONCE):
            some = b"".join(elements[start : start + _ELEMENTS_AT_ONCE])
            self._add(kind, flags, attribute(2, text(name)) + attribute(3 | NESTED, some))

    def commit(self) -> None:
        """Raises OSError; nothing has changed then."""
        if not self._messages:
            return
        edge = bytes(2) + _NFNL_SUBSYS_NFTABLES.to_bytes(2, "big")
        *others, (kind, flags, content) = self._messages
        last = kind, flags | _ACK, content
        messages = [(_BATCH_BEGIN, _REQUEST, edge), *others, last, (_BATCH_END, _REQUEST, edge)]
        data = b"".join(_packed(number, *message) for number, message in enumerate(messages))
        socket = _netlink()
        try:
            _take_large_packets(socket)  # a transaction is one packet, however long
            socket.send(data)
            self._hear(socket)
        finally:
            socket.close()

    def _hear(self, socket: "_socket.socket") -> None:
        """Raise the first error. The kernel tells all errors without being asked, in the order of the changes; that one
        is done, only if asked. Only the last is: answers to all would not fit into the socket's buffer (ENOBUFS)."""
        while True:
            packet = socket.recv(1 << 16)
            while packet:
                if int.from_bytes(packet[4:6], sys.byteorder) == _NLMSG_ERROR:
                    errno = -int.from_bytes(packet[_HEADER : _HEADER + 4], sys.byteorder, signed=True)
                    if errno:
                        raise OSError(errno, os.strerror(errno), "nftables")
                    return
                packet = packet[(int.from_bytes(packet[:4], sys.byteorder) + 3) & ~3 :]

    def _add(self, kind: int, flags: int, content: bytes) -> None:
        head = bytes([_INET, 0, 0, 0])
        self._messages.append((_NFNL_SUBSYS_NFTABLES << 8 | kind, flags | _REQUEST, head + self._table + content))


def comment_of(table: str) -> str:
    """Return the comment of the table, "" if it has none. Raises OSError: ENOENT if there is no such table.

    Kernels before 5.10 keep none.
    """
    socket = _netlink()
    try:
        head = bytes([_INET, 0, 0, 0])
        socket.send(_packed(0, _NFNL_SUBSYS_NFTABLES << 8 | _GETTABLE, _REQUEST, head + attribute(1, text(table))))
        packet = socket.recv(1 << 16)
    finally:
        socket.close()
    if int.from_bytes(packet[4:6], sys.byteorder) == _NLMSG_ERROR:
        errno = -int.from_bytes(packet[_HEADER : _HEADER + 4], sys.byteorder, signed=True)
        raise OSError(errno, os.strerror(errno), "nftables")
    data = attributes(packet[_HEADER + 4 :]).get(6, b"")
    return os.fsdecode(data[2 : 1 + data[1]]) if len(data) > 2 and data[0] == _COMMENT else ""


def drops(hook: int) -> bool:
    """Return whether some chain at `hook` drops packets of IPv4 on which none of its rules decides. Raises OSError."""
    socket = _netlink()
    try:
        socket.send(_packed(0, _NFNL_SUBSYS_NFTABLES << 8 | _GETCHAIN, _REQUEST | _DUMP, bytes([_ANY, 0, 0, 0])))
        while True:
            packet = socket.recv(1 << 16)
            while packet:
                length, kind = (int.from_bytes(packet[at:end], sys.byteorder) for at, end in ((0, 4), (4, 6)))
                if kind in (_NLMSG_ERROR, _NLMSG_DONE):
                    return False
                found = attributes(packet[_HEADER + 4 : length])
                at_hook = attributes(found.get(4, b"")).get(1) == number(hook)
                if packet[_HEADER] in (_INET, _IPV4) and at_hook and found.get(5) == number(DROP):
                    return True
                packet = packet[(length + 3) & ~3 :]
    finally:
        socket.close()


def _netlink() -> "_socket.socket":
    socket = _socket.socket(_socket.AF_NETLINK, _socket.SOCK_RAW | _socket.SOCK_CLOEXEC, _NETLINK_NETFILTER)
    try:
        socket.bind((0, 0))
    except BaseException:
        socket.close()
        raise
    return socket


def _take_large_packets(socket: "_socket.socket") -> None:
    try:
        socket.setsockopt(_SOL_SOCKET, _SO_SNDBUFFORCE, _BUFFER)
    except PermissionError:  # in a user namespace net.core.wmem_max is the limit
        socket.setsockopt(_SOL_SOCKET, _socket.SO_SNDBUF, _BUFFER)


def text(value: str) -> bytes:
    """Return the value of an attribute that is a string."""
    return value.encode() + b"\0"


def number(value: int) -> bytes:
    """Return the value of an attribute that is a number."""
    return value.to_bytes(4, "big")


def _type(parts: "tuple[Type, ...]") -> int:
    """Return the number of a concatenated type, as nft(8) numbers it."""
    found = 0
    for kind, _ in parts:
        found = found << _BITS_OF_A_TYPE | kind
    return found


def _length(parts: "tuple[Type, ...]") -> int:
    return sum(_padded(size) for _, size in parts) if len(parts) > 1 else parts[0][1]


def _padded(size: int) -> int:
    return (size + 3) & ~3


def _element(key: bytes, data: bytes = b"", more: bytes = b"") -> bytes:
    content = attribute(1 | NESTED, attribute(1, key)) + more
    if data:
        content += attribute(2 | NESTED, attribute(1, data))
    return attribute(1 | NESTED, content)


def _packed(number: int, kind: int, flags: int, content: bytes) -> bytes:
    fields = ((_HEADER + len(content), 4), (kind, 2), (flags, 2), (number, 4), (0, 4))
    return b"".join(value.to_bytes(size, sys.byteorder) for value, size in fields) + content
