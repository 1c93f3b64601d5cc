"""The body of a request as a worker reads it, from the client's connection: it may be of any length."""

import base64

from foundation.linux import os
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

_CHUNK = 1 << 18
_LONGEST_LINE = 1 << 10  # of a chunk's size
_HEXADECIMAL = frozenset(b"0123456789abcdefABCDEF")


class Body:
    """`framing` is what Connection.stream_body() has returned; `fd` is the connection, which must block."""

    def __init__(self, fd: int, framing: "dict[str, Any]") -> None:
        self._fd = fd
        self._data = base64.b64decode(framing["ahead"])
        self._at = 0  # where in it the next byte is
        self._length = framing["length"]

    def __iter__(self) -> "Iterator[bytes]":
        """Yield the body in pieces. Raises ApiError if the client ends before the body does."""
        return self._chunks() if self._length is None else self._exactly(self._length)

    def _exactly(self, size: int) -> "Iterator[bytes]":
        while size:
            if self._at == len(self._data):
                self._more(b"")
            piece = self._data[self._at : self._at + size]
            self._at += len(piece)
            size -= len(piece)
            yield piece

    def _chunks(self) -> "Iterator[bytes]":
        while size := self._size():
            yield from self._exactly(size)
            if b"".join(self._exactly(2)) != b"\r\n":
                raise ApiError(400, "malformed chunk")

    def _size(self) -> int:
        while (end := self._data.find(b"\r\n", self._at)) < 0:
            if len(self._data) - self._at > _LONGEST_LINE:
                raise ApiError(400, "malformed chunk")
            self._more(self._data[self._at :])
        digits = self._data[self._at : end].partition(b";")[0].strip()
        self._at = end + 2
        if not digits or len(digits) > 15 or not _HEXADECIMAL.issuperset(digits):
            raise ApiError(400, "malformed chunk")
        return int(digits, 16)

    def _more(self, rest: bytes) -> None:
        data = os.read(self._fd, _CHUNK)
        if not data:
            raise ApiError(400, "unexpected EOF: the request's body ends too early")
        self._data, self._at = rest + data, 0
