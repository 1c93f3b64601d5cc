"""Reading a log: from a place that the client has chosen, to its end or along with its growth."""

import json

from foundation.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_BLOCK = 64 << 10


class History:
    """The entries of the log at `path`, in their order.

    `tail` is the number of the last entries to begin with, or -1 for all. `since` and `until` are times as in the log,
    or "". next() can be called again when the log has grown.
    """

    def __init__(self, path: str, tail: int, since: str, until: str) -> None:
        self._path = path
        self._since = since
        self._until = until
        self._rest = b""
        self.is_over = False
        self._fd = self._begin(tail)

    def close(self) -> None:
        if self._fd >= 0:
            os.close(self._fd)

    def next(self) -> "list[tuple[str, str, bytes]] | None":
        """Return the next (stream, time, text) entries; None if there are no more at present."""
        data = self._read()
        if not data or self.is_over:
            return None
        *lines, self._rest = (self._rest + data).split(b"\n")
        return list(self._chosen(lines))

    def _chosen(self, lines: "list[bytes]") -> "Iterator[tuple[str, str, bytes]]":
        for entry in _parsed(lines):
            try:
                stream, time, text = entry["stream"], entry["time"], entry["log"].encode("utf-8", "surrogateescape")
            except (KeyError, TypeError, AttributeError):
                continue
            if self._until and time > self._until:
                self.is_over = True
                return
            if time >= self._since:
                yield stream, time, text

    def _read(self) -> bytes:
        """Return the next block, of the next file if this one has ended and is not the newest any more."""
        while self._fd >= 0:
            data = os.read(self._fd, _BLOCK)
            if data:
                return data
            following = self._following()
            if following < 0:
                return b""
            os.close(self._fd)
            self._fd, self._rest = following, b""
        return b""

    def _following(self) -> int:
        """Return the file after the open one, or -1 if that is the newest."""
        ours = os.fstat(self._fd).st_ino
        paths = self._paths()
        inodes = [os.stat(path).st_ino for path in paths]
        index = inodes.index(ours) + 1 if ours in inodes else 0  # not there: it was removed while we read it
        return _open(paths[index]) if index < len(paths) else -1

    def _paths(self) -> "list[str]":
        """Return the paths of all files, the oldest first."""
        paths = [self._path]
        while os.path.exists(older := f"{self._path}.{len(paths)}"):
            paths.append(older)
        return [path for path in reversed(paths) if os.path.exists(path)]

    def _begin(self, tail: int) -> int:
        """Open the file of the first entry, at its position; return -1 if there is no log."""
        paths = self._paths()
        if not paths:
            return -1
        if tail < 0:
            return _open(paths[0])
        fd = -1
        for path in reversed(paths):
            if fd >= 0:
                os.close(fd)
            fd = _open(path)
            found, position = _seek_back(fd, tail)
            tail -= found
            if tail <= 0:
                break
        os.lseek(fd, position, os.SEEK_SET)
        return fd


def _parsed(lines: "list[bytes]") -> "Iterator[Any]":
    """Yield the entries of whole lines."""
    try:
        yield from json.loads(b"[%b]" % b",".join(lines))  # in one call, which takes a third of the time
    except (ValueError, RecursionError):
        for line in lines:
            try:
                yield json.loads(line)
            except (ValueError, RecursionError):
                continue  # half an entry, whose writer was killed


def _open(path: str) -> int:
    return os.open(path, os.O_RDONLY | os.O_CLOEXEC)


def _seek_back(fd: int, lines: int) -> "tuple[int, int]":
    """Return how many of the last `lines` lines the file has, and where the first of these begins."""
    position = end = os.fstat(fd).st_size
    found = 0
    while position > 0 and found <= lines:
        size = min(_BLOCK, position)
        position -= size
        block = os.pread(fd, size, position)
        place = len(block)
        # The newline at the very end belongs to the last line.
        while (place := block.rfind(b"\n", 0, place)) >= 0:
            if position + place + 1 == end:
                continue
            found += 1
            if found == lines:
                return lines, position + place + 1
    return (found + 1 if end else 0, 0) if lines else (0, end)
