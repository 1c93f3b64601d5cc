"""The sockets of a container's name server. They are in its network namespace, and are served from outside."""

import _socket

from foundation.linux.nft_expressions import TCP, UDP, goes_to, redirect_to
from foundation.linux.nftables import OUTPUT, Transaction
from pyrund.net.subnet import packed

ADDRESS = "127.0.0.11"  # as dockerd's, which some configurations of nginx name
_PORT = 53
_IP_FREEBIND = 15
_TABLE = "pyrund"
_DESTINATION_NAT = -100
_BACKLOG = 16


def open_sockets() -> "list[int]":
    """Return a socket of UDP and one of TCP that listens, which the caller closes: what the processes in this network
    namespace send to port 53 of ADDRESS arrives there. Raises OSError.

    They have other ports, so that a name server in the container can have port 53 of all its addresses.
    """
    sockets = [_bound(_socket.SOCK_DGRAM), _bound(_socket.SOCK_STREAM)]
    sockets[1].listen(_BACKLOG)
    _redirect(*(one.getsockname()[1] for one in sockets))
    return [one.detach() for one in sockets]


def _bound(kind: int) -> "_socket.socket":
    socket = _socket.socket(_socket.AF_INET, kind | _socket.SOCK_CLOEXEC, 0)
    socket.setsockopt(_socket.IPPROTO_IP, _IP_FREEBIND, 1)  # the loopback interface may be down, or may have lost it
    socket.bind((ADDRESS, 0))
    return socket


def _redirect(udp: int, tcp: int) -> None:
    changes = Transaction(_TABLE)
    changes.make_anew()
    changes.chain("output", "nat", OUTPUT, _DESTINATION_NAT)
    for protocol, port in ((UDP, udp), (TCP, tcp)):
        address = packed(ADDRESS)
        changes.rule("output", goes_to(address, protocol, _PORT), redirect_to(address, port))
    changes.commit()
