"""The log of a container, as docker's driver json-file writes it.

    {"log":"text\\n","stream":"stdout","time":"2026-11-28T20:40:05.123456789Z"}

A line is written when it ends; one of more than 16 KiB in pieces, of which only the last ends with a newline. Bytes
that are not UTF-8 are written as the escapes of lone surrogates, so none is lost; docker's own reader shows U+FFFD.

    ID-json.log     the present file
    ID-json.log.1   the one before, and so on
"""

import sys
from _json import encode_basestring, encode_basestring_ascii

from foundation.linux import os, whole_file
from pyrund.model.times import now

PIECE = 16 << 10
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC


class Log:
    """The log at `path`. A file of `limit` bytes (0: any size) is followed by another; `files` of them are kept."""

    def __init__(self, path: str, limit: int, files: int) -> None:
        self._path = path
        self._limit = limit
        self._files = files
        self._has_failed = self._is_too_long = False
        self.held: dict[str, bytes] = {}  # stream -> the beginning of its next line
        self._open()

    def _open(self) -> None:
        self._fd = os.open(self._path, _FLAGS, 0o640)
        self._size = os.fstat(self._fd).st_size
        if self._size and os.pread(self._fd, 1, self._size - 1) != b"\n":
            self._append(b"\n")  # the writer was killed within a write: what comes now must not be glued to that

    def write(self, stream: str, data: bytes) -> None:
        """Append what the container has written to `stream`."""
        *lines, rest = (self.held.pop(stream, b"") + data).split(b"\n")
        pieces = [line + b"\n" for line in lines]
        if len(data) > PIECE or len(rest) >= PIECE:
            pieces = [piece for line in pieces for piece in _pieces(line)]
            *full, rest = _pieces(rest) or [b""]
            pieces += full
        if rest:
            self.held[stream] = rest
        self._write(stream, pieces)

    def close(self) -> None:
        """Write what is held, and close the file."""
        for stream, rest in self.held.items():
            self._write(stream, [rest])
        self.held = {}
        os.close(self._fd)

    def _write(self, stream: str, pieces: "list[bytes]") -> None:
        if not pieces:
            return
        end = f',"stream":"{stream}","time":"{now()}"}}\n'.encode()
        entries = [b'{"log":' + _quoted(piece) + end for piece in pieces]
        if not self._limit or self._size + sum(map(len, entries)) < self._limit:
            self._append(b"".join(entries))
            return
        for entry in entries:
            if self._size >= self._limit:
                self._rotate()
            self._append(entry)

    def _append(self, data: bytes) -> None:
        try:
            whole_file.write_all(self._fd, data)
            self._size += len(data)
            self._has_failed = False
        except OSError as error:
            # A disk that is full, or read-only after an error, must not stop the container.
            if not self._has_failed:
                print(f"pyrund: {self._path}: {error.strerror}: output is lost", file=sys.stderr)
            self._has_failed = True
            self._cut()

    def _cut(self) -> None:
        """Let no half of an entry stay."""
        try:
            os.ftruncate(self._fd, self._size)
        except OSError:
            pass  # EROFS, EPERM: a file that cannot be written to cannot be cut either

    def _rotate(self) -> None:
        """Begin another file. If the disk has no room for one, this one grows on."""
        try:
            following = os.open(f"{self._path}.new", _FLAGS | os.O_TRUNC, 0o640)
        except OSError as error:
            if not self._is_too_long:
                print(f"pyrund: {self._path}: {error.strerror}: it grows on", file=sys.stderr)
            self._is_too_long = True
            return
        for number in range(self._files - 1, 0, -1):
            older = f"{self._path}.{number}"
            newer = f"{self._path}.{number - 1}" if number > 1 else self._path
            if os.path.exists(newer):
                os.rename(newer, older)
        os.rename(f"{self._path}.new", self._path)
        os.close(self._fd)
        self._fd, self._size, self._is_too_long = following, 0, False


def _pieces(line: bytes) -> "list[bytes]":
    return [line[start : start + PIECE] for start in range(0, len(line), PIECE)]


def _quoted(piece: bytes) -> bytes:
    try:
        return encode_basestring(piece.decode()).encode()
    except UnicodeDecodeError:
        return encode_basestring_ascii(piece.decode("utf-8", "surrogateescape")).encode()
