"""What the processes of the engine say to each other: JSON with descriptors, each in a packet of a socket."""

import _socket
import array
import json
from errno import EMFILE

from foundation.linux import os
from foundation.linux.socketpair import SEQPACKET, socketpair
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.loop import Loop

    Message = dict[str, Any]

LARGEST = 160 << 10  # bytes; below net.core.wmem_default, which a packet must fit in
_MOST_DESCRIPTORS = 8
_CLOEXEC = 0x40000000  # MSG_CMSG_CLOEXEC


def pair() -> "tuple[Port, Port]":
    """Return two connected ports, close-on-exec."""
    one, other = socketpair(SEQPACKET)
    return Port(one), Port(other)


class Port:
    """One end of the connection between two processes."""

    def __init__(self, socket: "_socket.socket") -> None:
        self._socket = socket

    @staticmethod
    def of(fd: int) -> "Port":
        return Port(_socket.socket(fileno=fd))

    def fileno(self) -> int:
        return self._socket.fileno()

    def detach(self) -> int:
        """Return the descriptor, which the caller closes."""
        return self._socket.detach()

    def close(self) -> None:
        self._socket.close()

    def finish(self) -> None:
        """Let the other side see the end; it can still send."""
        self._socket.shutdown(_socket.SHUT_WR)

    def set_blocking(self, blocks: bool) -> None:
        self._socket.setblocking(blocks)

    def send(self, message: "Message", descriptors: "tuple[int, ...]" = ()) -> None:
        """Send a message with copies of `descriptors`, which stay open here.

        Raises ApiError if the message is longer than LARGEST, and OSError if the other side has ended.
        """
        data = json.dumps(message, separators=(",", ":")).encode()
        if len(data) > LARGEST:
            raise ApiError(500, f"{len(data)} bytes are too much for a message between the engine's processes")
        rights = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, array.array("i", descriptors))] if descriptors else []
        self._socket.sendmsg([data], rights)

    def wait(self) -> None:
        """Wait until there is a message, or the other side has ended."""
        self._socket.recv(1, _socket.MSG_PEEK)

    def receive(self) -> "tuple[Message | None, list[int]]":
        """Return the next message and its descriptors, which the caller closes; None when the other side has ended.

        Raises OSError if this process has no room for the descriptors: the kernel drops those that do not fit.
        """
        space = _socket.CMSG_SPACE(4 * _MOST_DESCRIPTORS)
        try:
            data, ancillary, flags, _ = self._socket.recvmsg(LARGEST, space, _CLOEXEC)
        except ConnectionResetError:
            return None, []
        descriptors = array.array("i")
        for _, _, rights in ancillary:
            descriptors.frombytes(rights)
        if flags & _socket.MSG_CTRUNC:
            for fd in descriptors:
                os.close(fd)
            raise OSError(EMFILE, os.strerror(EMFILE), "descriptors of the engine")
        return (json.loads(data) if data else None), list(descriptors)


async def receive(loop: "Loop", port: Port) -> "tuple[Message | None, list[int]]":
    """Wait for the next message to a port that does not block."""
    while True:
        try:
            return port.receive()
        except BlockingIOError:
            await loop.readable(port.fileno())
