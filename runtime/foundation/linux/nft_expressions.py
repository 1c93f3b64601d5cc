"""<linux/netfilter/nf_tables.h>: expressions of rules: what a packet must be, and what happens to it."""

import sys

from foundation.linux.netlink import attribute
from foundation.linux.nftables import NESTED, number, text

EQUAL, DIFFERENT = 0, 1
TCP, UDP, SCTP = 6, 17, 132
_META_IIFNAME, _META_OIFNAME, _META_NFPROTO, _META_L4PROTO, _META_IIFGROUP, _META_OIFGROUP = 6, 7, 15, 16, 21, 22
_NETWORK_HEADER, _TRANSPORT_HEADER = 1, 2
# Offsets in the headers.
_IPV4_SOURCE, _IPV4_DESTINATION, _IPV6_SOURCE, _IPV6_DESTINATION, _DESTINATION_PORT = 12, 16, 8, 24, 2
_CT_STATE, _CT_STATUS = 0, 2
_ESTABLISHED_OR_RELATED, _IS_DNAT = 0x2 | 0x4, 0x20
_FIB_ADDRTYPE, _FIB_DADDR, _RTN_LOCAL = 3, 2, 2
_LOOKUP_INVERTED = 1
_DNAT, _NFPROTO_IPV4, _NFPROTO_IPV6 = 1, 2, 10
_VERDICT, _FIRST, _SECOND = 0, 1, 2  # registers of 16 bytes
_WORDS = 8  # the first register again, as four of 4 bytes


def is_ipv6() -> bytes:
    """Match packets of IPv6."""
    return _meta(_META_NFPROTO, _FIRST) + _compare(EQUAL, bytes([_NFPROTO_IPV6]))


def is_ipv4() -> bytes:
    """Match packets of IPv4."""
    return _meta(_META_NFPROTO, _FIRST) + _compare(EQUAL, bytes([_NFPROTO_IPV4]))


def enters_by(name: str, comparison: int = EQUAL) -> bytes:
    """Match packets that come in by an interface in the set `name`, or with DIFFERENT by any other."""
    return _meta(_META_IIFNAME, _FIRST) + _lookup(name, _FIRST, comparison)


def leaves_by(name: str, comparison: int = EQUAL) -> bytes:
    """Match packets that go out by an interface in the set `name`, or with DIFFERENT by any other."""
    return _meta(_META_OIFNAME, _FIRST) + _lookup(name, _FIRST, comparison)


def crosses(name: str) -> bytes:
    """Match packets whose two interfaces are a pair in the set `name`: where they come in, and where they go out."""
    return _meta(_META_IIFNAME, _FIRST) + _meta(_META_OIFNAME, _SECOND) + _lookup(name, _FIRST)


def touches_no_interface_of(group: int) -> bytes:
    """Match packets that neither come in by an interface of the group nor go out by one."""
    others = _compare(DIFFERENT, group.to_bytes(4, sys.byteorder))
    return _meta(_META_IIFGROUP, _FIRST) + others + _meta(_META_OIFGROUP, _FIRST) + others


def comes_from(name: str) -> bytes:
    """Match packets of IPv4 with a source address in the set `name`."""
    return is_ipv4() + _payload(_NETWORK_HEADER, _IPV4_SOURCE, 4, _FIRST) + _lookup(name, _FIRST)


def comes_from_ipv6(name: str) -> bytes:
    """Match packets of IPv6 with a source address in the set `name`."""
    return is_ipv6() + _payload(_NETWORK_HEADER, _IPV6_SOURCE, 16, _FIRST) + _lookup(name, _FIRST)


def comes_from_loopback() -> bytes:
    """Match packets of IPv4 with a source address in 127.0.0.0/8."""
    return is_ipv4() + _payload(_NETWORK_HEADER, _IPV4_SOURCE, 1, _FIRST) + _compare(EQUAL, b"\x7f")


def goes_to_loopback() -> bytes:
    """Match packets of IPv4 with a destination in 127.0.0.0/8."""
    return is_ipv4() + _payload(_NETWORK_HEADER, _IPV4_DESTINATION, 1, _FIRST) + _compare(EQUAL, b"\x7f")


def goes_to(address: bytes, protocol: int, port: int) -> bytes:
    """Match packets of IPv4 to the address, with the protocol (TCP, UDP), to the port."""
    to_address = _payload(_NETWORK_HEADER, _IPV4_DESTINATION, 4, _FIRST) + _compare(EQUAL, address)
    by_protocol = _meta(_META_L4PROTO, _FIRST) + _compare(EQUAL, bytes([protocol]))
    to_port = _payload(_TRANSPORT_HEADER, _DESTINATION_PORT, 2, _FIRST) + _compare(EQUAL, port.to_bytes(2, "big"))
    return is_ipv4() + to_address + by_protocol + to_port


def goes_to_this_machine() -> bytes:
    """Match packets to an address of this network namespace."""
    kind = attribute(1, number(_FIRST)) + attribute(2, number(_FIB_ADDRTYPE)) + attribute(3, number(_FIB_DADDR))
    return _expression("fib", kind) + _compare(EQUAL, _RTN_LOCAL.to_bytes(4, sys.byteorder))


def is_answer() -> bytes:
    """Match packets of connections that others have begun, and what belongs to these."""
    return _tracked(_CT_STATE, _ESTABLISHED_OR_RELATED)


def has_new_destination() -> bytes:
    """Match packets whose destination was changed."""
    return _tracked(_CT_STATUS, _IS_DNAT)


def find_port(name: str) -> bytes:
    """Match packets of IPv4 for which the map `name` has (protocol, port); redirect() takes what it has for them."""
    return is_ipv4() + _meta(_META_L4PROTO, _WORDS) + _port(_WORDS + 1) + _lookup(name, _WORDS, data=_WORDS)


def find_address_and_port(name: str) -> bytes:
    """The same for (address, protocol, port)."""
    address = _payload(_NETWORK_HEADER, _IPV4_DESTINATION, 4, _WORDS)
    key = address + _meta(_META_L4PROTO, _WORDS + 1) + _port(_WORDS + 2)
    return is_ipv4() + key + _lookup(name, _WORDS, data=_WORDS)


def find_port_of_ipv6(name: str) -> bytes:
    """As find_port() for packets of IPv6, which do not go to ::1; redirect_ipv6() takes what the map has."""
    found = _meta(_META_L4PROTO, _WORDS) + _port(_WORDS + 1) + _lookup(name, _WORDS, data=_WORDS)
    return _goes_beyond_loopback() + found


def find_address_and_port_of_ipv6(name: str) -> bytes:
    """The same for (address, protocol, port)."""
    address = _payload(_NETWORK_HEADER, _IPV6_DESTINATION, 16, _WORDS)
    key = address + _meta(_META_L4PROTO, _WORDS + 4) + _port(_WORDS + 5)
    return _goes_beyond_loopback() + key + _lookup(name, _WORDS, data=_WORDS)


def _goes_beyond_loopback() -> bytes:
    destination = _payload(_NETWORK_HEADER, _IPV6_DESTINATION, 16, _FIRST)
    return is_ipv6() + destination + _compare(DIFFERENT, bytes(15) + b"\1")


def redirect() -> bytes:
    """Give the packet the destination that was found: in a nat chain at PREROUTING or OUTPUT alone."""
    return _nat(_NFPROTO_IPV4, _WORDS + 1)


def redirect_ipv6() -> bytes:
    """The same for a packet of IPv6."""
    return _nat(_NFPROTO_IPV6, _WORDS + 4)


def redirect_to(address: bytes, port: int) -> bytes:
    """Give the packet this destination: in a nat chain at PREROUTING or OUTPUT alone."""
    values = _value(_WORDS, address) + _value(_WORDS + 1, port.to_bytes(2, "big"))
    return values + redirect()


def masquerade() -> bytes:
    """Give the packet the address of the interface by which it leaves: in a nat chain at POSTROUTING alone."""
    return _expression("masq", b"")


def verdict(code: int) -> bytes:
    """Decide on the packet: DROP or ACCEPT."""
    inner = attribute(2 | NESTED, attribute(1, number(code)))
    return _expression("immediate", attribute(1, number(_VERDICT)) + attribute(2 | NESTED, inner))


def _expression(name: str, data: bytes) -> bytes:
    return attribute(1 | NESTED, attribute(1, text(name)) + attribute(2 | NESTED, data))


def _meta(key: int, register: int) -> bytes:
    return _expression("meta", attribute(2, number(key)) + attribute(1, number(register)))


def _payload(header: int, offset: int, length: int, register: int) -> bytes:
    place = attribute(2, number(header)) + attribute(3, number(offset)) + attribute(4, number(length))
    return _expression("payload", attribute(1, number(register)) + place)


def _port(register: int) -> bytes:
    return _payload(_TRANSPORT_HEADER, _DESTINATION_PORT, 2, register)


def _tracked(key: int, bits: int) -> bytes:
    """Match packets of which connection tracking knows one of `bits`."""
    load = _expression("ct", attribute(1, number(_FIRST)) + attribute(2, number(key)))
    mask = bits.to_bytes(4, sys.byteorder)
    data = attribute(1, number(_FIRST)) + attribute(2, number(_FIRST)) + attribute(3, number(len(mask)))
    data += attribute(4 | NESTED, attribute(1, mask)) + attribute(5 | NESTED, attribute(1, bytes(len(mask))))
    return load + _expression("bitwise", data) + _compare(DIFFERENT, bytes(len(mask)))


def _compare(comparison: int, value: bytes) -> bytes:
    data = attribute(1, number(_FIRST)) + attribute(2, number(comparison))
    return _expression("cmp", data + attribute(3 | NESTED, attribute(1, value)))


def _lookup(name: str, register: int, comparison: int = EQUAL, data: int = 0) -> bytes:
    content = attribute(1, text(name)) + attribute(2, number(register))
    if data:
        content += attribute(3, number(data))
    if comparison == DIFFERENT:
        content += attribute(5, number(_LOOKUP_INVERTED))
    return _expression("lookup", content)


def _value(register: int, value: bytes) -> bytes:
    return _expression("immediate", attribute(1, number(register)) + attribute(2 | NESTED, attribute(1, value)))


def _nat(family: int, port: int) -> bytes:
    """Change the destination: its address is in the first register, and its port in the one of number `port`."""
    registers = attribute(3, number(_WORDS)) + attribute(5, number(port))
    return _expression("nat", attribute(1, number(_DNAT)) + attribute(2, number(family)) + registers)
