"""A worker which carries what arrives at a container's published ports into its network: that of a rootless engine, or
of one whose host has a firewall that forwards nothing.

The sockets are the daemon's, and in the network of the host, where a user may have no table of rules. For each
connection that is accepted here, another one is made in the network namespace of the bridges. So containers see the
address of their bridge in place of the client's.

daemon                                worker
{"protocol", "address", "port"} ────▶ with the socket of a port; one after the other
end of file ────────────────────────▶ close the sockets
                                  ◀── {}
"""

import _socket
from errno import ENOBUFS

from pyrund.loop import Loop
from pyrund.messages import receive
from pyrund.process import raise_limit_of_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.messages import Message, Port
    from pyrund.places import Places

    Address = tuple[str, int]

_BACKLOG = 4096
_PIECE = 64 << 10
_LARGEST_PACKET = 64 << 10
_UDP_IDLE = 90.0  # seconds after which a client of UDP is forgotten, as by docker-proxy
_MOST_CLIENTS = 1024  # of UDP, for each port


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Carry until the daemon ends, or closes its side of the port."""
    raise_limit_of_files()  # each connection takes two
    loop = Loop()
    answers.set_blocking(False)
    loop.run(loop.spawn(_serve(loop, answers)))


async def _serve(loop: Loop, answers: "Port") -> None:
    sockets = []
    while True:
        message, descriptors = await receive(loop, answers)
        if message is None:
            break
        socket = _socket.socket(fileno=descriptors[0])
        sockets.append(socket)
        target = message["address"], message["port"]
        loop.spawn((_accept if message["protocol"] == "tcp" else _receive)(loop, socket, target))
    for socket in sockets:
        socket.close()  # before the answer: others can have the ports then


# TCP


async def _accept(loop: Loop, listener: "_socket.socket", target: "Address") -> None:
    listener.listen(_BACKLOG)
    while True:
        try:
            fd, _ = listener._accept()  # type: ignore[attr-defined]
        except BlockingIOError:
            await loop.readable(listener.fileno())
        except OSError:
            await loop.sleep(0.1)  # too many open files: others will close theirs
        else:
            loop.spawn(_carry(loop, _socket.socket(fileno=fd), target))


async def _carry(loop: Loop, client: "_socket.socket", target: "Address") -> None:
    client.setblocking(False)
    try:
        server = _made(target, _socket.SOCK_STREAM)
    except OSError:  # too many open files
        loop.close(client.detach())
        return
    try:
        try:
            server.connect(target)
        except BlockingIOError:
            await loop.writable(server.fileno())
        if not server.getsockopt(_socket.SOL_SOCKET, _socket.SO_ERROR):
            back = loop.spawn(_copy(loop, server, client))
            await _copy(loop, client, server)
            await back
    except OSError:
        pass  # nobody listens there
    finally:
        loop.close(client.detach())
        loop.close(server.detach())


async def _copy(loop: Loop, source: "_socket.socket", sink: "_socket.socket") -> None:
    """Copy until the end of `source`, and say so to `sink`; if one of them breaks, both do."""
    try:
        while data := await loop.read(source.fileno(), _PIECE):
            await loop.write_all(sink.fileno(), data)
            await loop.sleep(0)  # two that are fast would have all of our time
        sink.shutdown(_socket.SHUT_WR)
    except OSError:
        for one in (source, sink):
            _break(one)


def _break(socket: "_socket.socket") -> None:
    try:
        socket.shutdown(_socket.SHUT_RDWR)
    except OSError:
        pass  # it is broken already


# UDP


async def _receive(loop: Loop, socket: "_socket.socket", target: "Address") -> None:
    clients = _Clients(loop, socket, target)
    loop.spawn(clients.forget())
    while True:
        try:
            data, client = socket.recvfrom(_LARGEST_PACKET)
        except BlockingIOError:
            await loop.readable(socket.fileno())
        except OSError:
            pass  # of an earlier packet: its client has closed the port
        else:
            clients.carry(data, client)


class _Clients:
    """Those who have sent packets to the port, each with a socket on the other side, where the answers arrive."""

    def __init__(self, loop: Loop, socket: "_socket.socket", target: "Address") -> None:
        self._loop = loop
        self._socket = socket
        self._target = target
        self._servers: dict[Any, _socket.socket] = {}
        self._active: set[Any] = set()

    def carry(self, data: bytes, client: "Any") -> None:
        self._active.add(client)
        try:
            (self._servers.get(client) or self._new(client)).send(data)
        except OSError:
            pass  # nobody listens there, or too much is under way: packets may be lost

    def _new(self, client: "Any") -> "_socket.socket":
        """Raises OSError."""
        if len(self._servers) >= _MOST_CLIENTS:
            raise OSError(ENOBUFS, "too many clients")
        server = _made(self._target, _socket.SOCK_DGRAM)
        server.connect(self._target)
        self._servers[client] = server
        self._loop.spawn(self._answer(client, server))
        return server

    async def _answer(self, client: "Any", server: "_socket.socket") -> None:
        while self._servers.get(client) is server:
            try:
                data = server.recv(_LARGEST_PACKET)
                self._active.add(client)
                self._socket.sendto(data, client)
            except BlockingIOError:
                await self._readable(server)
            except OSError:
                pass  # nobody listens there, or the client has gone

    async def _readable(self, server: "_socket.socket") -> None:
        try:
            await self._loop.readable(server.fileno())
        except OSError:
            pass  # forget() has closed it

    async def forget(self) -> None:
        """Forget, again and again, those who were not active for some time."""
        while True:
            await self._loop.sleep(_UDP_IDLE)
            for client in self._servers.keys() - self._active:
                self._loop.close(self._servers.pop(client).detach())
            self._active.clear()


def _made(target: "Address", kind: int) -> "_socket.socket":
    family = _socket.AF_INET6 if ":" in target[0] else _socket.AF_INET
    made = _socket.socket(family, kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK, 0)
    made.setblocking(False)
    return made
