"""The log of events on disk, by which a daemon knows what was before it: a line of JSON for each event.

events      the present file
events.1    the one before
"""

import sys

from foundation.linux import os, whole_file

_LIMIT = 1 << 20  # bytes of a file, after which another one begins: some thousand events


class EventLog:
    def __init__(self, path: str) -> None:
        self._path = path
        self._has_failed = False
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o600)
        whole = whole_file.read_all(self._fd, self._path).rfind(b"\n") + 1
        os.ftruncate(self._fd, whole)  # a machine that stopped within a write has left the beginning of a line
        self._size = whole

    def append(self, line: bytes) -> None:
        """Append a line, which has its end. What goes wrong is told only once: a full disk must not stop the engine."""
        try:
            if self._size and self._size + len(line) > _LIMIT:
                os.rename(self._path, f"{self._path}.1")
                former = self._fd
                self._open()  # if it fails, the former one stays open
                os.close(former)
            whole_file.write_all(self._fd, line)
            self._size += len(line)
            self._has_failed = False
        except OSError as error:
            os.ftruncate(self._fd, self._size)  # no half of a line may stay
            if not self._has_failed:
                print(f"pyrund: {self._path}: {error.strerror}: events are not recorded", file=sys.stderr)
            self._has_failed = True

    def lines(self) -> "list[bytes]":
        """Return all lines that there are, the oldest first."""
        return [line for path in (f"{self._path}.1", self._path) for line in _content(path).splitlines()]


def _content(path: str) -> bytes:
    try:
        return whole_file.read(path)
    except FileNotFoundError:
        return b""
