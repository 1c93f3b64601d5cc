"""A client that sees the streams of a container by a WebSocket: `GET /containers/ID/attach/ws`."""

from pyrund.streams.client import Client
from pyrund.streams.frames import BINARY, CLOSE, NORMAL, PING, PONG, PROTOCOL_ERROR, TEXT, Reader, Violation, frame

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.loop import Loop


class WebSocketClient(Client):
    """What the streams show is a message for each piece, of bytes or, if `is_text`, of text: stdout and stderr are not
    told apart. What the client sends is standard input, whose end is the end of the connection."""

    def __init__(self, loop: "Loop", fd: int, wanted: "list[str]", ahead: bytes, is_text: bool) -> None:
        super().__init__(loop, fd, wanted, False, ahead)
        self._kind = TEXT if is_text else BINARY
        self._reader = Reader()
        self._is_ending = False

    def show(self, stream: str, data: bytes) -> None:
        if stream in self._wanted and not self._is_ending:
            self.send(frame(self._kind, data))

    async def receive(self) -> bytes:
        """Return what the client has sent next, b"" if it ends. Pings are answered meanwhile."""
        while not self._is_ending and (data := await super().receive()):
            found = self._read(data)
            await self.room()  # of a client that sends pings and reads no answers
            await self._loop.sleep(0)  # one that sends empty messages would have all of our time
            if found:
                return found
        return b""

    def _read(self, data: bytes) -> bytes:
        """Return the standard input in `data`, and answer the rest."""
        found = b""
        try:
            for opcode, payload in self._reader.feed(data):
                if opcode == BINARY:
                    found += payload
                elif opcode == PING:
                    self.send(frame(PONG, payload))
                elif opcode == CLOSE:
                    self._end(payload[:2] or NORMAL)
                    break
        except Violation:
            self._end(PROTOCOL_ERROR)
        return found

    async def watch(self) -> None:
        """Answer a client that has no standard input, until it closes the connection."""
        while await self.receive():
            pass
        self.finish()

    def finish(self) -> None:
        self._end(NORMAL)

    def _end(self, why: bytes) -> None:
        """Send the last frame, and close the connection when it is sent."""
        if not self._is_ending:
            self._is_ending = True
            self.send(frame(CLOSE, why))
        super().finish()
