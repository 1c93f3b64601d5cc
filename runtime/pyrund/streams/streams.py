"""The streams of one container or exec, with all clients that see them."""

import sys
from fcntl import ioctl

from foundation.linux import os
from pyrund.http.response import hijack_head
from pyrund.http.websocket import head as websocket_head
from pyrund.loop import Future, first
from pyrund.streams.client import Client
from pyrund.streams.history import History
from pyrund.streams.keys import Scanner
from pyrund.streams.source import Pipe, Terminal
from pyrund.streams.websocket import WebSocketClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop
    from pyrund.messages import Message
    from pyrund.streams.log import Log

_PATIENCE = 1.0  # seconds for processes that have the streams after the container's end
_TIOCSWINSZ = 0x5414


class Streams:
    """Clients may come before the streams are there: open() is called when the program starts, end() when it has ended.

    A client that reads slowly slows down the container, as the reader of a pipe does, until that has ended.
    """

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self.is_open = False
        self._is_ending = False
        self.log: Log | None = None
        self._clients: list[Client] = []
        self._recalling = 0  # clients that are still shown what was before
        self._stdin = -1
        self._terminal = -1
        self._sources: list[Terminal] = []
        self._pumps: list[Future[None]] = []  # one for each source, done at its end
        self._opened: Future[None] = Future()
        self.grown: Future[None] = Future()  # done when the log has more, or is complete

    @property
    def is_used(self) -> bool:
        return self.is_open or bool(self._clients) or self._recalling > 0

    def open(self, names: "list[str]", descriptors: "list[int]", log: "Log | None") -> None:
        """Begin. `descriptors` belong to this object from now on."""
        self.log, self.is_open = log, True
        for name, fd in zip(names, descriptors):
            os.set_blocking(fd, False)
            if name == "stdin":
                self._stdin = fd
                continue
            if name == "terminal":
                self._terminal = self._stdin = fd
            source = Terminal(self._loop, fd) if name == "terminal" else Pipe(self._loop, fd)
            self._sources.append(source)
            self._pumps.append(self._loop.spawn(self._pump("stdout" if name == "terminal" else name, source)))
        self._opened.set(None)

    async def _pump(self, stream: str, source: Terminal) -> None:
        while not source.is_closed and (data := await source.peek()):
            if self.log:
                self.log.write(stream, data)
                self._grow()
            source.take(len(data))
            self._clients = [client for client in self._clients if not client.is_gone]
            for client in self._clients:
                client.show(stream, data)
            for client in list(self._clients):
                if not self._is_ending:
                    await client.room()
            await self._loop.sleep(0)  # a program that prints without a pause would have all of our time

    def _grow(self) -> None:
        grown, self.grown = self.grown, Future()
        grown.set(None)

    async def end(self) -> None:
        """Return when all output is in the log and on its way to the clients, which are closed when they have it."""
        self._is_ending = True
        for client in self._clients:
            client.make_room()
        limit = self._loop.sleep(_PATIENCE)
        for pump in list(self._pumps):
            await first(pump, limit)
        self.close()

    def close(self) -> None:
        self._close_stdin()
        for source in self._sources:
            source.close()
        self._sources, self._pumps, self._stdin, self._terminal = [], [], -1, -1
        if self.log:
            self.log.close()
        self.log, self.is_open, self._is_ending, self._opened = None, False, False, Future()
        self._grow()
        clients, self._clients = self._clients, []
        for client in clients:
            client.finish()

    def resize(self, height: int, width: int) -> None:
        if self._terminal >= 0:
            size = height.to_bytes(2, sys.byteorder) + width.to_bytes(2, sys.byteorder) + bytes(4)
            try:
                ioctl(self._terminal, _TIOCSWINSZ, size)
            except OSError:
                pass  # it has been hung up: the program has just ended

    # Clients.

    async def attach(self, fd: int, message: "Message", ahead: bytes) -> bool:
        """Show the streams on the connection `fd`, and pass on what comes from there, until one side ends.

        `ahead` is what the client has sent already. Returns whether the client left by the detach keys.
        """
        client = self._begin(fd, message, ahead)
        opened = self._opened  # the next end puts another one in its place
        if message["history"]:
            await self._recall(client, message["history"])
        if not message["stream"] or opened is not self._opened:
            client.finish()
            return False
        self._clients = [*(one for one in self._clients if not one.is_gone), client]
        if not message["stdin"]:
            await client.watch()
            return False
        return await self._type(client, message)

    def _begin(self, fd: int, message: "Message", ahead: bytes) -> Client:
        websocket = message.get("websocket")
        if not websocket:
            client = Client(self._loop, fd, message["wanted"], message["framed"], ahead)
            client.begin(hijack_head(message["upgrades"], message["type"]))
            return client
        client = WebSocketClient(self._loop, fd, message["wanted"], ahead, websocket["text"])
        client.begin(websocket_head(websocket["accept"]))
        return client

    async def _recall(self, client: Client, path: str) -> None:
        try:
            history = History(path, -1, "", "")
        except OSError:
            return  # it is being rotated or removed
        self._recalling += 1
        try:
            while (entries := history.next()) is not None:
                for stream, _, text in entries:
                    client.show(stream, text)
                await client.room()
            for stream, text in self.log.held.items() if self.log else ():
                client.show(stream, text)
        finally:
            self._recalling -= 1
            history.close()

    async def _type(self, client: Client, message: "Message") -> bool:
        await self._opened
        scanner = Scanner(message["keys"].encode("latin-1"))
        while not client.is_gone:
            data = await client.receive()
            if not data:
                break
            passed, has_left = scanner.scan(data)
            await self._put(passed)
            await self._loop.sleep(0)  # so would a client
            if has_left:
                self._drop(client)
                return True
        if client in self._clients:
            self._half_close(client, message["closes_stdin"])
        return False

    async def _put(self, data: bytes) -> None:
        if self._stdin < 0 or not data:
            return
        try:
            await self._loop.write_all(self._stdin, data)
        except OSError:
            self._close_stdin()  # the program has closed its standard input, or has ended

    def _half_close(self, client: Client, closes_stdin: bool) -> None:
        """The client has nothing more to send. Where that is not the end of stdin, it is the end of the client."""
        if closes_stdin and self._terminal < 0:
            self._close_stdin()
        else:
            self._drop(client)

    def _close_stdin(self) -> None:
        if self._stdin >= 0 and self._stdin != self._terminal:
            self._loop.close(self._stdin)
            self._stdin = -1

    def fail(self, text: str) -> None:
        """Show why the program could not be started, and end."""
        for client in self._clients:
            client.show("stdout", text.encode("utf-8", "replace"))
        self.close()

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
        client.finish()
