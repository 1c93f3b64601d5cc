"""Connects to one of a host's addresses, of which some may not answer or must not be reached."""

import errno
import select
import socket
import time

from foundation.linux import os
from pyfetch.registry.addresses import Reach, ip_address, out_of_reach

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Target = tuple[socket.AddressFamily, "tuple[str, int]"]

_STAGGER = 0.3  # RFC 8305, 5: seconds before the next address is tried in parallel


def connect(host: str, port: int, timeout: float, reach: "Reach | None" = None) -> socket.socket:
    """Connect to the first address of `host` that answers; one that does not delays the next by only 300 ms.

    RFC 8305 ("happy eyeballs"): otherwise the addresses of a broken IPv6 would use up the whole timeout. Addresses out
    of `reach` are left out; raise VerificationError if no other is left.
    """
    found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    addresses = _interleaved([entry for entry in found if reach is None or _allows(reach, entry[4])])
    if found and not addresses:
        raise out_of_reach(host, found[0][4][0])
    pending: list[socket.socket] = []
    failure: OSError | None = None
    deadline = time.monotonic() + timeout
    try:
        while addresses or pending:
            if addresses:
                sock, error = _start_to_connect(*addresses.pop(0))
                if error:
                    failure = OSError(error, os.strerror(error))
                    sock.close()
                    continue
                pending.append(sock)
            wait = min(_STAGGER, deadline - time.monotonic()) if addresses else deadline - time.monotonic()
            _, ready, _ = select.select([], pending, [], max(wait, 0))
            for sock in ready:
                pending.remove(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not error:
                    sock.settimeout(timeout)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return sock
                sock.close()
                failure = OSError(error, os.strerror(error))
            if time.monotonic() >= deadline:
                raise failure or TimeoutError("timed out")
    finally:
        for sock in pending:
            sock.close()
    raise failure or OSError("no address")


def _allows(reach: Reach, target: "tuple[Any, ...]") -> bool:
    address = ip_address(target[0])
    return address is not None and reach.allows(address)


def _interleaved(found: "list[tuple[Any, ...]]") -> "list[Target]":
    """Alternate between the address families, beginning with the resolver's first."""
    addresses = [(family, address) for family, _, _, _, address in found]
    first = [a for a in addresses if a[0] == addresses[0][0]]
    second = [a for a in addresses if a[0] != addresses[0][0]]
    mixed = [a for pair in zip(first, second) for a in pair]
    return mixed + first[len(second) :] + second[len(first) :]


def _start_to_connect(family: socket.AddressFamily, address: "tuple[str, int]") -> "tuple[socket.socket, int]":
    """Return the socket, and the errno of an immediate failure (no route, say), or 0."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    error = sock.connect_ex(address)
    return sock, 0 if error == errno.EINPROGRESS else error
