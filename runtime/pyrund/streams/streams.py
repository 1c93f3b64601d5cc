"""The streams of one container or exec, with all clients that see them."""

from pyrund.http.response import hijack_head
from pyrund.http.websocket import head as websocket_head
from pyrund.loop import Future, first
from pyrund.streams.client import Client
from pyrund.streams.history import History
from pyrund.streams.keys import Scanner
from pyrund.streams.run import Run
from pyrund.streams.websocket import WebSocketClient

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop
    from pyrund.messages import Message
    from pyrund.streams.log import Log
    from pyrund.streams.source import Terminal

_PATIENCE = 1.0  # seconds for processes that have the streams after the container's end


class Streams:
    """Clients may come before the streams are there: open() is called when the program starts, end() when it has ended.
    A container may do so many times.

    A client that reads slowly slows down the container, as the reader of a pipe does, until that has ended.
    """

    def __init__(self, loop: "Loop") -> None:
        self._loop = loop
        self._run: Run | None = None
        self._begun: Future[Run] = Future()  # of the run that is there, or else of the next one
        self._pumps: list[Future[None]] = []  # one for each source of the run, done at its end
        self._clients: list[Client] = []
        self._recalling = 0  # clients that are still shown what was before
        self.grown: Future[None] = Future()  # done when the log has more, or is complete

    @property
    def is_open(self) -> bool:
        return self._run is not None

    @property
    def is_used(self) -> bool:
        return self.is_open or bool(self._clients) or self._recalling > 0

    def open(self, names: "list[str]", descriptors: "list[int]", log: "Log | None") -> None:
        """Begin. `descriptors` belong to this object from now on."""
        run = self._run = Run(self._loop, names, descriptors, log)
        self._pumps = [self._loop.spawn(self._pump(run, stream, source)) for stream, source in run.sources]
        self._begun.set(run)

    async def _pump(self, run: Run, stream: str, source: "Terminal") -> None:
        while not source.is_closed and (data := await source.peek()):
            if run.log:
                run.log.write(stream, data)
                self._grow()
            source.take(len(data))
            self._clients = [client for client in self._clients if not client.is_gone]
            for client in self._clients:
                client.show(stream, data)
            for client in list(self._clients):
                if not run.is_ending:
                    await client.room()
            await self._loop.sleep(0)  # a program that prints without a pause would have all of our time

    def _grow(self) -> None:
        grown, self.grown = self.grown, Future()
        grown.set(None)

    async def end(self) -> None:
        """Return when all output is in the log and on its way to the clients, which are closed when they have it."""
        if self._run:
            self._run.is_ending = True
        for client in self._clients:
            client.make_room()
        limit = self._loop.sleep(_PATIENCE)
        for pump in list(self._pumps):
            await first(pump, limit)
        self.close()

    def close(self) -> None:
        if self._run:
            self._run.close()
        self._run, self._begun, self._pumps = None, Future(), []
        self._grow()
        clients, self._clients = self._clients, []
        for client in clients:
            client.finish()

    def resize(self, height: int, width: int) -> None:
        if self._run:
            self._run.resize(height, width)

    # Clients.

    async def attach(self, fd: int, message: "Message", ahead: bytes) -> bool:
        """Show the streams on the connection `fd`, and pass on what comes from there, until one side ends.

        `ahead` is what the client has sent already. Returns whether the client left by the detach keys.
        """
        client = self._begin(fd, message, ahead)
        begun = self._begun  # the next end puts another one in its place
        if message["history"]:
            await self._recall(client, message["history"])
        if not message["stream"] or begun is not self._begun:
            client.finish()
            return False
        self._clients = [*(one for one in self._clients if not one.is_gone), client]
        if not message["stdin"]:
            await client.watch()
            return False
        return await self._type(await begun, client, message)

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
            for stream, text in self._run.log.held.items() if self._run and self._run.log else ():
                client.show(stream, text)
        finally:
            self._recalling -= 1
            history.close()

    async def _type(self, run: Run, client: Client, message: "Message") -> bool:
        scanner = Scanner(message["keys"].encode("latin-1"))
        while not client.is_gone:
            data = await client.receive()
            if not data:
                break
            passed, has_left = scanner.scan(data)
            await run.put(passed)
            await self._loop.sleep(0)  # so would a client
            if has_left:
                self._drop(client)
                return True
        if client in self._clients and not (message["closes_stdin"] and run.close_stdin()):
            self._drop(client)  # it has nothing more to send, and that is not the end of the program's input
        return False

    def fail(self, text: str) -> None:
        """Show why the program could not be started, and end."""
        for client in self._clients:
            client.show("stdout", text.encode("utf-8", "replace"))
        self.close()

    def _drop(self, client: Client) -> None:
        if client in self._clients:
            self._clients.remove(client)
        client.finish()
