"""The name server of one container, at 127.0.0.11 in its network namespace.

It knows the names in the container's networks. Everything else is asked of other servers, from the host's network.
"""

import _socket

from foundation.linux import os
from pyrund.dns.message import AAAA, SERVER_FAILURE, A, Malformed, Question, written
from pyrund.net.subnet import packed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.dns.names import Names
    from pyrund.dns.others import Others
    from pyrund.loop import Loop

    Json = dict[str, Any]

_AT_ONCE = 64  # questions that others are asked for one container
_CONNECTIONS = 16
_PATIENCE = 10.0  # seconds for a client of TCP to ask
_LARGEST = 65535


class Server:
    """Serves on `udp` and `tcp`, a socket that listens, until close(). `wanted` has:

    networks   {id: [name, {alias: name of another container}]}
    servers    the addresses of others, [] for those of the host
    forwards   whether others are asked at all
    """

    def __init__(self, loop: "Loop", names: "Names", others: "Others", wanted: "Json", udp: int, tcp: int) -> None:
        self._loop = loop
        self._names = names
        self._others = others
        self._wanted = wanted
        self._udp = _socket.socket(fileno=udp)
        self._tcp = _socket.socket(fileno=tcp)
        self._is_open = True
        self._asking = self._connected = 0
        loop.spawn(self._serve_datagrams())
        loop.spawn(self._serve_connections())

    def close(self) -> None:
        """The network namespace lives as long as its sockets."""
        self._is_open = False
        for socket in (self._udp, self._tcp):
            self._loop.close(socket.detach())

    async def _serve_datagrams(self) -> None:
        while await self._is_ready(self._udp):
            try:
                data, client = self._udp.recvfrom(_LARGEST)
            except OSError:
                continue  # an earlier client has closed its port
            self._answer_datagram(data, client)

    def _answer_datagram(self, data: bytes, client: "Any") -> None:
        try:
            question = Question(data)
        except Malformed:
            return
        known = self._known(question)
        if known is None:
            self._loop.spawn(self._pass_on(question, data, client))
        else:
            self._send(question.answered(known), client)

    async def _pass_on(self, question: Question, data: bytes, client: "Any") -> None:
        self._send(await self._ask_others(question, data, by_tcp=False), client)

    def _send(self, answer: bytes, client: "Any") -> None:
        try:
            self._udp.sendto(answer, client)
        except OSError:
            pass  # it has gone, or takes nothing; or the socket was closed meanwhile

    async def _serve_connections(self) -> None:
        while await self._is_ready(self._tcp):
            try:
                fd, _ = self._tcp._accept()  # type: ignore[attr-defined]
            except BlockingIOError:
                continue
            except OSError:
                await self._loop.sleep(0.1)  # too many open files
                continue
            os.set_blocking(fd, False)
            self._loop.spawn(self._serve_connection(fd))

    async def _is_ready(self, socket: "_socket.socket") -> bool:
        """Wait until something has come; False if the socket was closed. Others have their turn before, each time: a
        container that asks without a pause must not keep the process busy."""
        try:
            if self._is_open:
                await self._loop.readable(socket.fileno())
        except OSError:
            pass  # it was closed
        return self._is_open

    async def _serve_connection(self, fd: int) -> None:
        self._connected += 1
        try:
            while self._connected <= _CONNECTIONS:
                asked = self._loop.spawn(self._read_message(fd))
                data = asked.result() if await self._loop.in_time(asked, _PATIENCE) else b""
                answer = await self._answer(data) if data else b""
                if not answer:
                    break
                await self._loop.write_all(fd, len(answer).to_bytes(2, "big") + answer)
        except OSError:
            pass  # the client has gone
        finally:
            self._connected -= 1
            self._loop.close(fd)

    async def _read_message(self, fd: int) -> bytes:
        """Return the next message of a client of TCP, b"" if there is none."""
        data = b""
        while len(data) < 2 or len(data) < 2 + int.from_bytes(data[:2], "big"):
            part = await self._loop.read(fd, _LARGEST)
            if not part:
                return b""
            data += part
        return data[2 : 2 + int.from_bytes(data[:2], "big")]

    async def _answer(self, data: bytes) -> bytes:
        """Return the response to `data` from a client of TCP, b"" if there is none."""
        try:
            question = Question(data)
        except Malformed:
            return b""
        known = self._known(question)
        if known is not None:
            return question.answered(known, size=_LARGEST)
        return await self._ask_others(question, data, by_tcp=True)

    async def _ask_others(self, question: Question, data: bytes, by_tcp: bool) -> bytes:
        if not self._wanted["forwards"] or self._asking >= _AT_ONCE:
            return question.answered([], SERVER_FAILURE)
        self._asking += 1
        try:
            return await self._others.ask(self._wanted["servers"], question, data, by_tcp)
        finally:
            self._asking -= 1

    def _known(self, question: Question) -> "list[bytes] | None":
        """Return the data of the records that are asked for; None if it is not a name of ours."""
        networks = self._wanted["networks"]
        if question.address:
            name = self._names.name(question.address, networks)
            return [written(name)] if name else None
        addresses = self._names.addresses(question.name, networks)
        if not addresses:
            return None
        size = {A: 4, AAAA: 16}.get(question.type)
        return [data for data in map(packed, addresses) if len(data) == size]
