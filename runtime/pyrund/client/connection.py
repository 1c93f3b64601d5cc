"""A connection to the daemon: requests are written, answers are read."""

import json

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.whole_file import write_all
from pyrund.http.response import LAST_CHUNK, chunk

TYPE_CHECKING = False
if TYPE_CHECKING:
    import _socket
    from collections.abc import Iterable, Iterator
    from typing import Any

_READ = 64 << 10
_LARGEST_HEAD = 1 << 20


class Foreign(Error):
    """What answers is not a daemon with docker's API."""


class Lost(OSError):
    """The daemon has closed the connection before its answer was complete."""


class Connection:
    """Bytes of an answer are taken from `ahead`, and from the socket when that is empty."""

    def __init__(self, socket: "_socket.socket") -> None:
        self.socket = socket
        self.ahead = b""
        self.is_free = True  # no answer is under way
        self._method = ""

    def send(self, method: str, target: str, body: "bytes | None", headers: "dict[str, str]") -> None:
        every = dict(headers)
        if body is not None:
            every["Content-Type"] = "application/json"
        if method not in ("GET", "HEAD"):
            every["Content-Length"] = str(len(body or b""))
        self._begin(method, target, every, body or b"")

    def send_chunks(self, method: str, target: str, chunks: "Iterable[bytes]") -> None:
        """Send a request whose body is a tar archive of unknown length."""
        self._begin(method, target, {"Content-Type": "application/x-tar", "Transfer-Encoding": "chunked"}, b"")
        for piece in chunks:
            if piece:
                write_all(self.socket.fileno(), chunk(piece))
        write_all(self.socket.fileno(), LAST_CHUNK)

    def _begin(self, method: str, target: str, headers: "dict[str, str]", body: bytes) -> None:
        every = {"Host": "docker", "User-Agent": "pyrund", **headers}
        lines = [f"{method} {target} HTTP/1.1", *(f"{name}: {value}" for name, value in every.items()), "", ""]
        self.is_free, self._method = False, method
        write_all(self.socket.fileno(), "\r\n".join(lines).encode() + body)

    def answer(self) -> "Answer":
        """Return the answer, of which the head has come."""
        lines = self.until(b"\r\n\r\n").decode("latin-1").split("\r\n")
        status = lines[0].split(" ")[1:2]
        if not lines[0].startswith("HTTP/1.") or not status or not status[0].isdigit():
            raise Foreign(f"no answer of HTTP, but {lines[0][:80]!r}")
        pairs = (line.partition(":") for line in lines[1:])
        has_body = self._method != "HEAD"
        return Answer(self, int(status[0]), {name.lower(): value.strip() for name, _, value in pairs}, has_body)

    def some(self) -> bytes:
        """Return what there is, b"" at the end."""
        if self.ahead:
            data, self.ahead = self.ahead, b""
            return data
        return os.read(self.socket.fileno(), _READ)

    def until(self, end: bytes) -> bytes:
        """Return what comes before `end`."""
        data = b""
        while end not in data:
            more = self.some()
            if not more or len(data) > _LARGEST_HEAD:
                raise Lost("the daemon has closed the connection")
            data += more
        data, _, self.ahead = data.partition(end)
        return data

    def pieces(self, size: int) -> "Iterator[bytes]":
        """Yield the next `size` bytes as they come."""
        while size:
            data = self.some()
            if not data:
                raise Lost("the daemon has closed the connection")
            if len(data) > size:
                data, self.ahead = data[:size], data[size:]
            size -= len(data)
            yield data

    def close(self) -> None:
        self.socket.close()


class Answer:
    """An answer whose body is read by pieces()."""

    def __init__(self, connection: Connection, status: int, headers: "dict[str, str]", has_body: bool) -> None:
        self.connection = connection
        self.status = status
        self.headers = headers
        self._has_body = has_body and status not in (204, 304)
        if not has_body:
            connection.is_free = True

    def pieces(self) -> "Iterator[bytes]":
        """Yield the body as it comes."""
        if not self._has_body:
            pass
        elif self.headers.get("transfer-encoding", "").lower() == "chunked":
            yield from self._chunks()
        elif "content-length" in self.headers:
            yield from self.connection.pieces(_number(self.headers["content-length"], 10))
        else:
            while data := self.connection.some():
                yield data
            return  # the end of the connection is that of the body
        self.connection.is_free = self.headers.get("connection", "").lower() != "close"

    def _chunks(self) -> "Iterator[bytes]":
        while size := _number(self.connection.until(b"\r\n").partition(b";")[0].decode("latin-1"), 16):
            yield from self.connection.pieces(size)
            self.connection.until(b"\r\n")
        while self.connection.until(b"\r\n"):
            pass  # trailers

    def body(self) -> bytes:
        return b"".join(self.pieces())

    def values(self) -> "Iterator[Any]":
        """Yield the JSON values of the body, one a line, as they come."""
        held = b""
        for piece in self.pieces():
            *lines, held = (held + piece).split(b"\n")
            for line in lines:
                if line.strip():
                    yield parsed(line)
        if held.strip():
            yield parsed(held)


def parsed(text: bytes) -> "Any":
    """Return the JSON value `text`. Raises Foreign."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        raise Foreign(f"no JSON in the answer, but {text[:80].decode('utf-8', 'replace')!r}") from None


def _number(text: str, base: int) -> int:
    try:
        return int(text, base)
    except ValueError:
        raise Foreign(f"a length in the answer is no number: {text[:80]!r}") from None
