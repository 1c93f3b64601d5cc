"""Where the output of a container comes from: a pipe or a terminal."""

from foundation.linux import os
from foundation.linux.tee import tee

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop

_SIZE = 64 << 10


class Terminal:
    """The master end of a terminal. What peek() returns is taken out."""

    def __init__(self, loop: "Loop", fd: int) -> None:
        self._loop = loop
        self.fd = fd
        self.is_closed = False

    async def peek(self) -> bytes:
        """Return what has come; b"" at the end."""
        return await self._loop.read(self.fd, _SIZE)

    def take(self, size: int) -> None:
        """Take out what peek() has returned."""

    def close(self) -> None:
        self.is_closed = True
        self._loop.close(self.fd)


class Pipe(Terminal):
    """The read end of a pipe. What peek() returns stays there until take(): if this process is killed in between, its
    successor finds it, so that a line may be twice in the log, but is never lost."""

    def __init__(self, loop: "Loop", fd: int) -> None:
        super().__init__(loop, fd)
        self._reader, self._writer = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)

    async def peek(self) -> bytes:
        while not self.is_closed:
            try:
                return os.read(self._reader, _SIZE) if tee(self.fd, self._writer, _SIZE) else b""
            except BlockingIOError:
                pass
            try:
                await self._loop.readable(self.fd)
            except OSError:
                break  # it was closed
        return b""

    def take(self, size: int) -> None:
        while size:
            size -= len(os.read(self.fd, size))

    def close(self) -> None:
        super().close()
        os.close(self._reader)
        os.close(self._writer)
