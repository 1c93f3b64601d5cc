"""A client's connection: requests are read from it, one after the other, and answered."""

import _socket
import base64
import time
from errno import ENOTCONN

from foundation.linux import os
from pyrund.errors import ApiError, show_bug
from pyrund.http import response
from pyrund.http.linger import linger
from pyrund.http.request import BadRequest, Request
from pyrund.http.response import LAST_CHUNK, Response, chunk
from pyrund.loop import read_now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any

    from pyrund.loop import Loop

    Handler = Callable[["Exchange"], Awaitable[Response | None]]

_LARGEST_HEAD = 64 << 10
_LARGEST_BODY = 4 << 20
_LARGEST_LINE = 1 << 10  # of a chunk's size, or of a trailer
_READ = 16 << 10  # what is read ahead of a stream must fit in a message to the process that gets the connection
_PATIENCE = 30.0  # seconds for the rest of a request that has begun


class Gone(Exception):
    """The client has closed the connection."""


class Exchange(Request):
    """A request and the connection on which it has come, for handlers that answer by themselves."""

    def __init__(self, head: bytes, connection: "Connection") -> None:
        super().__init__(head)
        self.connection = connection
        self.only_reads = False  # its client may only read


class Connection:
    """The connection open as `fd`. After give_away() it belongs to another process."""

    def __init__(self, loop: "Loop", fd: int) -> None:
        self._loop = loop
        self.fd = fd
        self._ahead = b""  # read, but not used yet
        self._is_given_away = False
        self._has_begun = False  # a response without a known length
        self._closes = False
        self._has_unread_body = False
        self._method = ""  # of the request that is being received or answered
        self.idle_since = 0.0  # by the monotonic clock; 0 while there is a request

    def hang_up(self) -> None:
        """Let the client find the end of the connection, and serve() too, as if the client had closed it."""
        socket = _socket.socket(fileno=self.fd)
        try:
            socket.shutdown(_socket.SHUT_RDWR)
        except OSError as error:
            if error.errno != ENOTCONN:  # a client of TCP has just closed it
                raise
        finally:
            socket.detach()

    async def serve(self, handle: "Handler") -> None:
        """Answer requests until one side closes the connection."""
        try:
            while not self._closes and not self._is_given_away:
                await self._exchange(handle)
                if self._ahead:
                    await self._loop.sleep(0)  # between requests that came together, others have their turn
        except (Gone, OSError):
            pass  # the client does not wait for an answer
        finally:
            if not self._is_given_away:
                await linger(self._loop, self.fd)
            self._loop.close(self.fd)

    async def _exchange(self, handle: "Handler") -> None:
        try:
            request = await self._receive()
            answer = await handle(request)
        except ApiError as error:
            self._closes |= isinstance(error, BadRequest)
            answer = response.error(error.status, str(error))
        except (Gone, BrokenPipeError, ConnectionResetError):
            raise Gone from None
        except Exception as error:  # a bug must end one request, and not the engine
            show_bug(error)
            answer = response.error(500, f"{type(error).__name__}: {error}")
        if answer is None:
            return
        if self._has_begun:
            raise Gone  # too late for another status: the client sees that the response has no end
        # A request may be refused before its body is read. That must not be taken for the next request: somebody else
        # may have written it, such as a web page whose own request has just been refused for its origin.
        self._closes |= self._has_unread_body
        body = b"" if self._method == "HEAD" else answer.body
        await self._loop.write_all(self.fd, answer.head(self._closes) + body)

    # Requests.

    async def _receive(self) -> Exchange:
        self._has_begun, self._method = False, ""
        head = await self._until(b"\r\n\r\n", _LARGEST_HEAD)
        request = Exchange(head.lstrip(b"\r\n"), self)
        self._method = request.method
        self._closes = not request.keeps_connection
        self._has_unread_body = not request.headers.keys().isdisjoint(("content-length", "transfer-encoding"))
        return request

    async def receive_body(self, request: Request) -> bytes:
        """Return the body, which follows the head. Raises BadRequest if it is longer than any JSON."""
        length = await self._announced(request)
        if length is not None and length > _LARGEST_BODY:
            raise BadRequest("request body too large", 413)
        body = await self._chunks() if length is None else await self._exactly(length)
        self._has_unread_body = False
        return body

    async def stream_body(self, request: Request) -> "dict[str, Any]":
        """Leave the body to a worker that gets the connection: return how the worker finds its end (http/body.py).

        The connection is closed after the response, because the worker may leave a part of the body unread.
        """
        self._closes = True
        length = await self._announced(request)
        ahead, self._ahead = self._ahead, b""
        return {"ahead": base64.b64encode(ahead).decode(), "length": length}

    async def _announced(self, request: Request) -> "int | None":
        """Return the length of the body that the client will send now; None if that is in chunks."""
        length, coding = request.headers.get("content-length"), request.headers.get("transfer-encoding")
        if length is not None and coding is not None:
            raise BadRequest("both Content-Length and Transfer-Encoding")
        if length is not None and not (length.isascii() and length.isdigit()):
            raise BadRequest("malformed Content-Length")
        if length is not None and len(length) > 18:
            raise BadRequest("request body too large", 413)
        if coding is not None and coding.lower() != "chunked":
            raise BadRequest(f"unsupported transfer encoding {coding[:80]!r}", 501)
        if request.headers.get("expect", "").lower() == "100-continue":
            await self._loop.write_all(self.fd, b"HTTP/1.1 100 Continue\r\n\r\n")
        return None if coding is not None else int(length or 0)

    async def _chunks(self) -> bytes:
        pieces, total = [], 0  # joined at the end: there may be millions of them
        while True:
            size = (await self._until(b"\r\n", _LARGEST_LINE)).partition(b";")[0].strip()
            if not size or size.strip(b"0123456789abcdefABCDEF") or len(size) > 8:
                raise BadRequest("malformed chunk")
            total += int(size, 16)
            if total > _LARGEST_BODY:
                raise BadRequest("request body too large", 413)
            if not int(size, 16):
                break
            pieces.append(await self._exactly(int(size, 16)))
            if await self._exactly(2) != b"\r\n":
                raise BadRequest("malformed chunk")
        while await self._until(b"\r\n", _LARGEST_LINE):
            pass  # trailers
        return b"".join(pieces)

    async def _until(self, end: bytes, most: int) -> bytes:
        """Return what comes before `end`."""
        start = 0
        while (found := self._ahead.find(end, start)) < 0:
            if len(self._ahead) > most:
                raise BadRequest("request header fields too large", 431)
            start = max(0, len(self._ahead) - len(end))
            await self._more()
        data, self._ahead = self._ahead[:found], self._ahead[found + len(end) :]
        return data

    async def _exactly(self, size: int) -> bytes:
        parts, missing = [], size
        while missing > len(self._ahead):
            parts.append(self._ahead)
            missing -= len(self._ahead)
            self._ahead = b""
            await self._more()
        data, self._ahead = self._ahead[:missing], self._ahead[missing:]
        return b"".join([*parts, data])

    async def _more(self) -> None:
        """Read on. A client may be idle for ever between two requests, but not within one."""
        data = read_now(self.fd, _READ)
        if data is None and (self._ahead or self._method):
            if not await self._loop.in_time(self._loop.readable(self.fd), _PATIENCE):
                raise BadRequest("the rest of the request did not come", 408)
        elif data is None:
            self.idle_since = time.monotonic()
        if data is None:
            data = await self._loop.read(self.fd, _READ)
            self.idle_since = 0.0
        else:
            await self._loop.sleep(0)  # a client that sends without a pause would have all of our time
        if not data:
            raise Gone
        self._ahead += data

    # Responses that a handler writes by itself; it returns None then.

    async def begin(self, status: int, headers: "dict[str, str]") -> None:
        """Send the head of a response that consists of chunks."""
        self._has_begun = True
        headers = {**headers, "Transfer-Encoding": "chunked"}
        await self._loop.write_all(self.fd, response.head(status, headers, self._closes))

    async def send(self, value: "Any") -> None:
        await self._loop.write_all(self.fd, chunk(response.encoded(value)))

    async def end(self) -> None:
        await self._loop.write_all(self.fd, LAST_CHUNK)

    async def is_closed(self) -> bool:
        """Wait until the client sends something, or closes the connection; return which. Reads nothing."""
        if self._ahead:
            return False
        try:
            await self._loop.readable(self.fd)
        except OSError:
            return True  # we have closed it
        return _is_at_end(self.fd)

    def give_away(self) -> bytes:
        """Let another process have the connection: return what was read ahead, and close it here."""
        self._is_given_away = True
        ahead, self._ahead = self._ahead, b""
        return ahead

    def take_back(self) -> None:
        """Go on after a worker has written the response."""
        os.set_blocking(self.fd, False)  # the worker may have changed that: it has the same open file

    def close_after_this(self) -> None:
        self._closes = True


def _is_at_end(fd: int) -> bool:
    socket = _socket.socket(fileno=fd)
    try:
        return not socket.recv(1, _socket.MSG_PEEK)
    except BlockingIOError:
        return False  # what came has been read meanwhile
    except OSError:
        return True
    finally:
        socket.detach()
