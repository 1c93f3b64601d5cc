"""What a program has here from its start to its end: our ends of its streams, and its log."""

import sys
from fcntl import ioctl

from foundation.linux import os
from pyrund.streams.source import Pipe, Terminal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop
    from pyrund.streams.log import Log

_TIOCSWINSZ = 0x5414


class Run:
    """`descriptors`, whose names are stdin, stdout and stderr or terminal, belong to this object from now on."""

    def __init__(self, loop: "Loop", names: "list[str]", descriptors: "list[int]", log: "Log | None") -> None:
        self.log = log
        self.is_ending = False
        self.sources: list[tuple[str, Terminal]] = []  # with the streams that their data belong to
        self._loop = loop
        self._stdin = self._terminal = -1
        for name, fd in zip(names, descriptors):
            os.set_blocking(fd, False)
            if name == "stdin":
                self._stdin = fd
            elif name == "terminal":
                self._stdin = self._terminal = fd
                self.sources.append(("stdout", Terminal(loop, fd)))
            else:
                self.sources.append((name, Pipe(loop, fd)))

    async def put(self, data: bytes) -> None:
        """Write to the program's standard input, if that is open, as fast as the program reads."""
        if self._stdin < 0 or not data:
            return
        try:
            await self._loop.write_all(self._stdin, data)
        except OSError:
            self.close_stdin()  # the program has closed its standard input, or has ended

    def close_stdin(self) -> bool:
        """Let the program see the end of its standard input; return False if that is a terminal, which has no end."""
        if self._terminal >= 0:
            return False
        if self._stdin >= 0:
            self._loop.close(self._stdin)
            self._stdin = -1
        return True

    def resize(self, height: int, width: int) -> None:
        if self._terminal >= 0:
            size = height.to_bytes(2, sys.byteorder) + width.to_bytes(2, sys.byteorder) + bytes(4)
            try:
                ioctl(self._terminal, _TIOCSWINSZ, size)
            except OSError:
                pass  # it has been hung up: the program has just ended

    def close(self) -> None:
        self.close_stdin()
        for _, source in self.sources:
            source.close()
        self._stdin = self._terminal = -1
        if self.log:
            self.log.close()
