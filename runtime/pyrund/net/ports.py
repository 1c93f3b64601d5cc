"""Published ports: which port of the host leads to which of a container.

A port is reserved by a socket that listens on it, so that no other program takes it, and everybody sees that it is
taken. No connection arrives there while the container runs: the table of rules gives it another destination first,
unless a worker serves it (launch/forward.py). With IPv6 it is only bound otherwise.
"""

import _socket
import errno
import sys
from itertools import chain

from foundation.linux import os, whole_file
from pyrund.errors import ApiError, missing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_RANGE = "/proc/sys/net/ipv4/ip_local_port_range"
_EVERYWHERE = ("0.0.0.0", "::")
_KINDS = {"tcp": (_socket.SOCK_STREAM, 0), "udp": (_socket.SOCK_DGRAM, 0), "sctp": (_socket.SOCK_STREAM, 132)}
# Without this file, the kernel does not track connections of SCTP, and so gives them no other destination.
_TRACKS_SCTP = "/proc/sys/net/netfilter/nf_conntrack_sctp_timeout_established"


class Binding:
    """What the client wants: a `port` of the container with its `protocol`, at one of the host's ports from `first` to
    `last`; both are 0 if any will do. It is to be the same one at all `host_addresses`."""

    def __init__(self, protocol: str, port: int, host_addresses: "list[str]", first: int, last: int) -> None:
        self.protocol = protocol
        self.port = port
        self.host_addresses = host_addresses
        self.first = first
        self.last = last


class Published:
    """A port of the host that is the container's; `address` is the container's own, "" before it has one.

    `is_served`: a worker carries what comes there (launch/forward.py), not the table of rules.
    """

    def __init__(
        self,
        protocol: str,
        port: int,
        host_address: str,
        host_port: int,
        address: str = "",
        is_served: bool = False,
    ) -> None:
        self.protocol = protocol
        self.port = port
        self.host_address = host_address
        self.host_port = host_port
        self.address = address
        self.is_served = is_served

    @property
    def is_everywhere(self) -> bool:
        return self.host_address in _EVERYWHERE

    @property
    def place(self) -> "tuple[str, str, int]":
        """The key of a published port: at any time only one has it."""
        return self.protocol, self.host_address, self.host_port

    def listed(self) -> "list[Any]":
        """Return the arguments of the constructor, for JSON."""
        return [self.protocol, self.port, self.host_address, self.host_port, self.address, self.is_served]


class Reservations:
    """The host's ports that containers have, by the containers' ids."""

    def __init__(self) -> None:
        self._held: dict[str, list[tuple[Published, _socket.socket | None]]] = {}
        self._taken: dict[tuple[str, int], list[str]] = {}  # (protocol, port) -> addresses
        self._last = 0  # of those that any will do for

    def reserve(self, id_: str, bindings: "list[Binding]") -> "list[Published]":
        """Reserve a port for each binding. Raises ApiError, with docker's words; none is reserved then."""
        if any(one.protocol == "sctp" for one in bindings) and not os.path.exists(_TRACKS_SCTP):
            raise missing("a published port of SCTP, which this kernel does not forward (CONFIG_NF_CT_PROTO_SCTP)")
        try:
            # Ports that any will do for come last: they must not take one that the client names.
            order = sorted(range(len(bindings)), key=lambda index: not bindings[index].first)
            reserved = {index: self._reserve(id_, bindings[index]) for index in order}
            return [published for index in range(len(bindings)) for published in reserved[index]]
        except BaseException:
            self.release(id_)
            raise

    def release(self, id_: str) -> None:
        for one, socket in self._held.pop(id_, []):
            addresses = self._taken[one.protocol, one.host_port]
            addresses.remove(one.host_address)
            if not addresses:
                del self._taken[one.protocol, one.host_port]
            if socket:
                socket.close()

    def sockets(self, id_: str) -> "dict[tuple[str, str, int], int]":
        """Return the descriptors that reserve ports, by the places of these; not of what another program has taken
        meanwhile."""
        return {one.place: socket.fileno() for one, socket in self._held.get(id_, []) if socket}

    def reserve_again(self, id_: str, ports: "list[Published]") -> None:
        """Reserve what a running container has. If another program has taken one meanwhile, the start goes on: the
        table of rules comes first."""
        for one in ports:
            binding = Binding(one.protocol, one.port, [one.host_address], one.host_port, one.host_port)
            try:
                self._reserve(id_, binding)
            except ApiError as error:
                print(f"pyrund: {id_}: {error}", file=sys.stderr)

    def _reserve(self, id_: str, binding: Binding) -> "list[Published]":
        is_choice = not binding.first or binding.first < binding.last
        for port in range(binding.first, binding.last + 1) if binding.first else self._any():
            if self._is_taken(binding, port):
                continue
            try:
                sockets = _bound(binding, port)
            except OSError as error:
                if error.errno == errno.EADDRINUSE and is_choice:
                    continue  # another program has it
                if error.errno == errno.EACCES:
                    raise ApiError(500, _privileged(port)) from None
                where = f"{binding.host_addresses[0]}:{port}/{binding.protocol}"
                raise ApiError(500, f"failed to bind host port {where}: {error.strerror}".lower()) from None
            if not binding.first:
                self._last = port
            published = [Published(binding.protocol, binding.port, one, port) for one in binding.host_addresses]
            self._held.setdefault(id_, []).extend(zip(published, sockets))
            self._taken.setdefault((binding.protocol, port), []).extend(binding.host_addresses)
            return published
        why = "all ports are allocated" if is_choice else "port is already allocated"
        raise ApiError(500, f"Bind for {binding.host_addresses[0]}:{binding.first} failed: {why}")

    def _is_taken(self, binding: Binding, port: int) -> bool:
        others = self._taken.get((binding.protocol, port), [])
        return any(_overlap(one, other) for one in binding.host_addresses for other in others)

    def _any(self) -> "Iterator[int]":
        """Yield the ports that programs get if they do not choose one, beginning after the last that was given."""
        low, high = map(int, whole_file.read(_RANGE).split())
        start = self._last + 1 if low <= self._last < high else low
        return chain(range(start, high + 1), range(low, start))


def _privileged(port: int) -> str:
    """Return rootlesskit's words for a port that only root may have, with ours for the way out."""
    return (
        f"cannot expose privileged port {port}: choose one from 1024 on, or let users have it: "
        f"sysctl net.ipv4.ip_unprivileged_port_start={port}"
    )


def _overlap(one: str, other: str) -> bool:
    """Return whether a socket at one address is in the way of a socket at the other."""
    return (":" in one) == (":" in other) and (one == other or bool({one, other} & set(_EVERYWHERE)))


def _bound(binding: Binding, port: int) -> "list[_socket.socket | None]":
    """Return a socket for each of the host's addresses; None if no program of the host can have such a port. Raises
    OSError."""
    sockets: list[_socket.socket | None] = []
    try:
        for address in binding.host_addresses:
            sockets.append(_bound_at(binding.protocol, address, port))
        return sockets
    except BaseException:
        for socket in sockets:
            if socket:
                socket.close()
        raise


def _bound_at(protocol: str, address: str, port: int) -> "_socket.socket | None":
    kind, number = _KINDS[protocol]
    family = _socket.AF_INET6 if ":" in address else _socket.AF_INET
    try:
        socket = _socket.socket(family, kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK, number)
    except OSError as error:
        if error.errno == errno.EPROTONOSUPPORT:
            return None  # a kernel that forwards SCTP, but has no sockets of it
        raise
    try:
        if family == _socket.AF_INET6:
            socket.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
        if protocol == "tcp":
            # Connections of an earlier program that are in TIME_WAIT are no obstacle; one that listens is.
            socket.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
        socket.bind((address, port))
        if protocol == "tcp" and family == _socket.AF_INET:
            socket.listen(0)  # not at [::]: what goes to ::1 cannot be redirected, and shall be refused, not hang
    except BaseException:
        socket.close()
        raise
    return socket
