"""The end of a connection: close(2) with unread data would reset it, and the client would not read our last bytes."""

import _socket

from pyrund.loop import first, read_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop

_LONGEST = 2.0  # seconds
_READ = 16 << 10


async def linger(loop: "Loop", fd: int) -> None:
    """Say that nothing more comes, and return when the client has closed its side, too, or after some time."""
    try:
        _shutdown(fd)
    except OSError:
        return
    end = loop.sleep(_LONGEST)
    while not end.is_done:
        arrival = loop.readable(fd)
        await first(arrival, end)
        if arrival.is_done and read_now(fd, _READ) == b"":  # another task may have read what came
            return


def _shutdown(fd: int) -> None:
    socket = _socket.socket(fileno=fd)
    try:
        socket.shutdown(_socket.SHUT_WR)
    finally:
        socket.detach()
