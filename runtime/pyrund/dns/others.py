"""Questions that other name servers are asked."""

import _socket

from foundation.linux import os, whole_file
from pyrund.dns.message import SERVER_FAILURE, Question
from pyrund.loop import first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop

_PORT = 53
_PATIENCE = 4.0  # seconds for each server, as dockerd's
_MOST_SERVERS = 3
_LARGEST = 65535
_AT_ONCE = 256  # for all containers


class Others:
    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._asked = 0

    async def ask(self, servers: "list[str]", question: Question, data: bytes, by_tcp: bool) -> bytes:
        """Return what one of `servers`, or of the host's if there are none, answers; SERVFAIL if nobody does, or if
        too many are asked at once: each question takes a descriptor, which logs need as well."""
        if self._asked >= _AT_ONCE:
            return question.answered([], SERVER_FAILURE)
        self._asked += 1
        try:
            for server in (servers or servers_of(_host_file()))[:_MOST_SERVERS]:
                answer = await self._ask(server, question, data, by_tcp)
                if answer:
                    return data[:2] + answer[2:]
            return question.answered([], SERVER_FAILURE)
        finally:
            self._asked -= 1

    async def _ask(self, server: str, question: Question, data: bytes, by_tcp: bool) -> bytes:
        try:
            return await (_ask_tcp if by_tcp else _ask_udp)(self._loop, server, question, data)
        except OSError:
            return b""  # there is nobody


def servers_of(text: str) -> "list[str]":
    """Return the addresses of the name servers in a resolv.conf."""
    lines = (line.split() for line in text.splitlines())
    return [words[1] for words in lines if len(words) > 1 and words[0] == "nameserver"]


def _host_file() -> str:
    try:
        return whole_file.read("/etc/resolv.conf", 1 << 20).decode("utf-8", "replace")
    except OSError:
        return ""


def _asked(data: bytes) -> "tuple[int, bytes]":
    """Return a new number for the question, which nobody can guess, and the message with it."""
    id_ = int.from_bytes(os.urandom(2), "big")
    return id_, id_.to_bytes(2, "big") + data[2:]


def _connected(server: str, kind: int) -> "_socket.socket":
    """Return a socket that is connected with the server, or about to be."""
    family = _socket.AF_INET6 if ":" in server else _socket.AF_INET
    socket = _socket.socket(family, kind | _socket.SOCK_CLOEXEC | _socket.SOCK_NONBLOCK, 0)
    try:
        socket.connect((server, _PORT))
    except BlockingIOError:
        pass
    except BaseException:
        socket.close()
        raise
    return socket


async def _ask_udp(loop: "Loop", server: str, question: Question, data: bytes) -> bytes:
    """Return the answer, b"" if there is none in time. Raises OSError."""
    socket = _connected(server, _socket.SOCK_DGRAM)
    id_, message = _asked(data)
    limit = loop.sleep(_PATIENCE)
    try:
        socket.send(message)
        while not limit.is_done:
            try:
                answer = socket.recv(_LARGEST)
            except BlockingIOError:
                await first(loop.readable(socket.fileno()), limit)
                continue
            if question.is_answered_by(answer, id_):
                return answer
        return b""
    finally:
        loop.close(socket.detach())


async def _ask_tcp(loop: "Loop", server: str, question: Question, data: bytes) -> bytes:
    """The same by TCP."""
    socket = _connected(server, _socket.SOCK_STREAM)
    fd = socket.detach()
    asking = loop.spawn(_exchange(loop, fd, question, data))
    try:
        return asking.result() if await loop.in_time(asking, _PATIENCE) else b""
    finally:
        loop.close(fd)


async def _exchange(loop: "Loop", fd: int, question: Question, data: bytes) -> bytes:
    """Return the answer, b"" if the server closes the connection."""
    id_, message = _asked(data)
    try:
        await loop.writable(fd)
        await loop.write_all(fd, len(message).to_bytes(2, "big") + message)
    except OSError:
        return b""
    answer = b""
    while len(answer) < 2 or len(answer) < 2 + int.from_bytes(answer[:2], "big"):
        part = await loop.read(fd, _LARGEST)
        if not part:
            return b""
        answer += part
    found = answer[2 : 2 + int.from_bytes(answer[:2], "big")]
    return found if question.is_answered_by(found, id_) else b""
