"""Classifies addresses, and decides to which of them a registry may lead.

A registry freely chooses the hosts of its tokens and blobs. One on the internet must not reach into our network or
machine (go-containerregistry #2243, #2259); one in our network may lead to its neighbours.
"""

import ipaddress
import socket
import threading

from pyfetch.errors import VerificationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Union

    Address = Union[ipaddress.IPv4Address, ipaddress.IPv6Address]

# "special": link-local addresses, where clouds serve secrets (169.254.169.254), and unspecified, multicast and reserved
# ones.
_LEADS_TO = {
    "public": ("public",),
    "private": ("public", "private"),
    "special": ("public", "private"),
    "loopback": ("public", "private", "loopback"),
}
_NAT64 = (ipaddress.IPv6Network("64:ff9b::/96"), ipaddress.IPv6Network("64:ff9b:1::/48"))  # RFC 6052, RFC 8215


_IN_HOST = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:")
_LONGEST_LABEL = 63  # RFC 1035, 2.3.4; Python's codec for host names raises UnicodeError for longer ones


class Reach:
    """The addresses that may be connected to on behalf of one registry.

    The address of the first connection, which is to the registry, decides, and not a name: a name may resolve
    differently each time (DNS rebinding). So later connections to the registry are checked as well.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._registry: Address | None = None
        self._kinds: tuple[str, ...] = ()

    def allows(self, address: "Address") -> bool:
        """Return whether `address` is in reach; before the first check() each one is."""
        return not self._kinds or address == self._registry or kind_of(address) in self._kinds

    def check(self, address: "Address | None", name: object) -> None:
        """Raise VerificationError if `address` of `name` is out of reach. It is None if only a proxy knows it."""
        with self._lock:
            if not self._kinds:
                self._registry, self._kinds = address, _LEADS_TO[kind_of(address) if address else "public"]
        if address is not None and not self.allows(address):
            raise out_of_reach(name, address)


def out_of_reach(name: object, address: object) -> VerificationError:
    """Return the error for an address to which the registry must not lead."""
    return VerificationError(
        f"{name}: {address} is inside our own network or machine, where the registry is not: refused"
    )


def kind_of(address: "Address") -> str:
    """Return public, private, loopback or special."""
    if isinstance(address, ipaddress.IPv6Address):
        inner = _embedded(address)
        if inner is not None:
            return kind_of(inner)
    if address.is_loopback:
        return "loopback"
    if address.is_link_local or address.is_unspecified or address.is_multicast or address.is_reserved:
        return "special"
    is_site_local = isinstance(address, ipaddress.IPv6Address) and address.is_site_local
    return "public" if address.is_global and not is_site_local else "private"


def _embedded(address: ipaddress.IPv6Address) -> "ipaddress.IPv4Address | None":
    """Return the IPv4 address that packets to `address` will reach."""
    if any(address in network for network in _NAT64):
        return ipaddress.IPv4Address(int(address) & 0xFFFFFFFF)
    return address.ipv4_mapped or address.sixtofour or (address.teredo[1] if address.teredo else None)


def is_host(host: str) -> bool:
    """Return whether `host`, in lower case as urlsplit gives it, can be a name or an address."""
    if ":" in host:
        return ip_address(host) is not None and _IN_HOST.issuperset(host)
    labels = host.removesuffix(".").split(".")
    return _IN_HOST.issuperset(host) and all(0 < len(label) <= _LONGEST_LABEL for label in labels)


def is_loopback(host: str) -> bool:
    """Return whether `host` is a name or an address of this machine's loopback."""
    address = ip_address(host)
    return host == "localhost" or host.endswith(".localhost") or (address is not None and address.is_loopback)


def ip_address(host: str) -> "Address | None":
    """Return the address that `host` is, in brackets or not, or None for a name."""
    try:
        return ipaddress.ip_address(host.strip("[]"))
    except ValueError:
        return None  # a name


def numeric_address(host: str) -> "Address | None":
    """The same for every spelling that resolvers accept, such as 127.1, 0x7f000001 and 2130706433."""
    try:
        return ip_address(host) or ipaddress.IPv4Address(socket.inet_aton(host))
    except OSError:
        return None
