"""A client that sees the streams of a container."""

import sys
from fcntl import ioctl

from pyrund.http.linger import linger
from pyrund.loop import Future

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop

_READ = 64 << 10
_MOST = 1 << 20  # bytes that wait for a client before the container waits for it
_UNREAD_PAUSES = (0.001, 0.002, 0.005, *[0.01] * 100)  # seconds
_SIOCOUTQ = 0x5411  # <linux/sockios.h>: at a unix socket, what the other side has not read
_KINDS = {"stdin": 0, "stdout": 1, "stderr": 2}


class Client:
    """The connection `fd`, which shows the streams `wanted`; `ahead` is what the client has sent already.

    `is_framed`: each piece comes behind a header that names its stream. What the client has not read yet is kept here,
    and sent also after finish(): the end of a container does not wait for a slow reader.
    """

    def __init__(self, loop: "Loop", fd: int, wanted: "list[str]", is_framed: bool, ahead: bytes = b"") -> None:
        self._loop = loop
        self.fd = fd
        self._wanted = wanted
        self._is_framed = is_framed
        self._head = b""
        self._ahead = ahead
        self._pending: list[bytes] = []
        self._size = 0  # of `pending` and of what is being written
        self._is_writing = False
        self._is_finished = False
        self._has_room: Future[None] = Future()
        self.is_gone = False

    def begin(self, head: bytes) -> None:
        """Send the head of the response. What follows is sent when the client has read that: docker-py drops bytes that
        come together with the head of a connection which becomes a stream."""
        self._head = head
        self.send(b"")
        self._loop.spawn(self._watch())

    async def _watch(self) -> None:
        """Close the connection of a client that goes while the container is silent."""
        try:
            await self._loop.broken(self.fd)
        except OSError:
            return  # we have closed it
        self._close()

    def show(self, stream: str, data: bytes) -> None:
        if stream in self._wanted:
            self.send(framed(stream, data) if self._is_framed else data)

    def send(self, data: bytes) -> None:
        if self.is_gone:
            return
        self._pending.append(data)
        self._size += len(data)
        if not self._is_writing:
            self._is_writing = True
            self._loop.spawn(self._write())

    async def receive(self) -> bytes:
        """Return what the client has sent next, b"" if it has nothing more to send."""
        ahead, self._ahead = self._ahead, b""
        return ahead or await self._loop.read(self.fd, _READ)

    async def watch(self) -> None:
        """Do what a client needs that has no standard input."""

    async def room(self) -> None:
        """Return when the client has read some of much that it was sent, or has gone."""
        if self._size > _MOST and not self.is_gone:
            await self._has_room

    def finish(self) -> None:
        """Close the connection when all is sent."""
        self._is_finished = True
        self.make_room()
        if not self._is_writing:
            self._close()

    async def _write(self) -> None:
        try:
            if self._head:
                head, self._head = self._head, b""
                await self._loop.write_all(self.fd, head)
                await self._has_read()
            while self._pending:
                data = b"".join(self._pending)
                self._pending.clear()
                await self._loop.write_all(self.fd, data)
                self._size -= len(data)
                self.make_room()
        except OSError:
            self._close()
        self._is_writing = False
        if self._is_finished:
            self._close()

    async def _has_read(self) -> None:
        """Return when the client has read all that was sent, or after a second."""
        for pause in _UNREAD_PAUSES:
            if not int.from_bytes(ioctl(self.fd, _SIOCOUTQ, bytes(4)), sys.byteorder):
                return
            await self._loop.sleep(pause)

    def make_room(self) -> None:
        """Let whoever waits for room go on."""
        made, self._has_room = self._has_room, Future()
        made.set(None)

    def _close(self) -> None:
        """Close the connection when the client has closed it, too: with unread input, close(2) would reset it."""
        if not self.is_gone:
            self.is_gone = True
            self.make_room()
            self._loop.spawn(self._close_after_it())

    async def _close_after_it(self) -> None:
        await linger(self._loop, self.fd)
        self._loop.close(self.fd)


def framed(stream: str, data: bytes) -> bytes:
    return b"%c\0\0\0%b%b" % (_KINDS[stream], len(data).to_bytes(4, "big"), data)
