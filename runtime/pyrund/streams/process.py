"""The streams process: its requests come from the daemon, with descriptors.

Its two sides. It ends when the daemon does, not at once as by a signal but in order: what it has read is written. So a
daemon that is killed loses no line of a log; the container's other ends stay with its monitor.
"""

import base64
import sys

from foundation.errors import reason
from foundation.linux import os
from pyrund.dns.service import VERBS, Service
from pyrund.errors import show_bug
from pyrund.http import response
from pyrund.http.response import LAST_CHUNK, RAW, chunk
from pyrund.loop import Future, Loop, first, read_now
from pyrund.messages import Port, pair, receive
from pyrund.process import PORT, settle
from pyrund.streams.client import framed
from pyrund.streams.history import History
from pyrund.streams.log import Log
from pyrund.streams.streams import Streams

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from typing import Any, NoReturn

    from pyrund.messages import Message


_PAUSE = 0.05  # seconds before another process begins: one that fails at once must not keep the daemon busy
_LONG_PAUSE = 1.0  # if there are too many processes


def attach_for_us(id_: str, *, framed: bool) -> "Message":
    """Return the message that shows the output of a container or exec on a connection of ours, as clients have them."""
    shown = {"wanted": ["stdout", "stderr"], "stream": True, "history": "", "framed": framed, "type": RAW}
    sent = {"stdin": False, "closes_stdin": False, "keys": "", "upgrades": False, "ahead": ""}
    return {"do": "attach", "id": id_, **shown, **sent}


class StreamsProcess:
    """The daemon's side.

    When the process was killed and another one has begun, which has the next `number`, `give_again` gives it the
    streams of all that runs. `has_detached` is called with the id of a container or exec when a client has left it by
    the detach keys.
    """

    def __init__(
        self,
        loop: Loop,
        lock: int,
        give_again: "Callable[[], Awaitable[None]]",
        has_detached: "Callable[[str], object]",
    ) -> None:
        self._loop = loop
        self._lock = lock
        self._give_again = give_again
        self._has_detached = has_detached
        self._waiting: dict[str, Future[bool]] = {}  # id -> done when its streams have ended, or were lost
        self._is_whole: Future[None] = Future()  # done when the process has all streams that it should have
        self._is_whole.set(None)
        self.number = 0
        self._port = self._begin()

    def _begin(self) -> Port:
        ours, theirs = pair()
        if os.fork() == 0:
            _run(theirs, self._lock)
        theirs.close()
        ours.set_blocking(False)
        self.number += 1
        self._loop.spawn(self._listen(ours))
        return ours

    async def _listen(self, port: Port) -> None:
        while True:
            message, _ = await receive(self._loop, port)
            if message is None:
                break
            if message["is"] == "ended":
                self._waiting.pop(message["id"], Future()).set(True)
            elif message["is"] == "detached":
                self._has_detached(message["id"])
        is_whole = self._is_whole = Future()
        waiting, self._waiting = self._waiting, {}
        self._port = await self._begin_again()  # until now, whoever sends finds the old port, and tries again
        self._loop.close(port.detach())
        for future in waiting.values():
            future.set(False)
        try:
            await self._give_again()
        finally:
            is_whole.set(None)

    async def _begin_again(self) -> Port:
        while True:
            await self._loop.sleep(_PAUSE)
            try:
                return self._begin()
            except OSError as error:
                print(f"pyrund: streams: {reason(error)}", file=sys.stderr)
                await self._loop.sleep(_LONG_PAUSE)

    async def send(self, message: "Message", descriptors: "tuple[int, ...]" = ()) -> None:
        """Send a request; `descriptors` stay open here."""
        while not await self._try_to_send(message, descriptors):
            await self._loop.sleep(0.01)  # _listen() begins another process

    async def _try_to_send(self, message: "Message", descriptors: "tuple[int, ...]" = ()) -> bool:
        """Send a request, and return True; return False if the process was killed."""
        while True:
            try:
                self._port.send(message, descriptors)
                return True
            except BlockingIOError:
                await self._writable()
            except (BrokenPipeError, ConnectionResetError):
                return False

    async def _writable(self) -> None:
        try:
            await self._loop.writable(self._port.fileno())
        except OSError:
            pass  # it was closed, because the process was killed

    async def end(self, id_: str) -> None:
        """Return when all that the container or exec has written is where it belongs."""
        has_ended = False
        while not has_ended:
            while not self._is_whole.is_done:  # a process that has not got the streams yet would find that they ended
                await self._is_whole  # another one, if the process is killed meanwhile
            future = self._waiting.setdefault(id_, Future())
            await self._try_to_send({"do": "end", "id": id_})
            has_ended = await future


def _run(port: Port, lock: int) -> "NoReturn":
    """Be the streams process."""
    try:
        settle(b"pyrund:streams", port.detach(), lock)
        loop = Loop()
        server = _Server(loop, Port.of(PORT))
        loop.run(loop.spawn(server.serve()))
    except BaseException as error:
        show_bug(error)
    finally:
        os._exit(0)


class _Server:
    def __init__(self, loop: Loop, port: Port) -> None:
        self._loop = loop
        self._port = port
        self._streams: dict[str, Streams] = {}
        self._dns = Service(loop)

    async def serve(self) -> None:
        self._port.set_blocking(False)
        while True:
            try:
                message, descriptors = await receive(self._loop, self._port)
            except OSError as error:
                print(f"pyrund: streams: {reason(error)}: a request is lost", file=sys.stderr)
                continue
            if message is None:
                break
            for fd in descriptors:
                os.set_blocking(fd, False)
            if message["do"] in VERBS:
                self._dns.do(message, descriptors)
                continue
            self._loop.spawn(self._do(message, descriptors))
        for streams in list(self._streams.values()):
            streams.close()

    async def _do(self, message: "Message", descriptors: "list[int]") -> None:
        id_ = message["id"]
        streams = self._streams.get(id_) or self._streams.setdefault(id_, Streams(self._loop))
        if message["do"] == "open" and streams.is_open:
            for fd in descriptors:  # two tasks of the daemon have given them again
                os.close(fd)
        elif message["do"] == "open":
            streams.open(message["names"], descriptors, _open_log(message["log"]))
        elif message["do"] == "attach":
            if await streams.attach(descriptors[0], message, base64.b64decode(message["ahead"])):
                self._tell("detached", id_)
        elif message["do"] == "logs":
            await _Follower(self._loop, descriptors[0], message).serve(streams)
        elif message["do"] == "resize":
            streams.resize(message["height"], message["width"])
        elif message["do"] == "fail":
            streams.fail(message["text"])
        elif message["do"] == "end":
            await streams.end()
            self._tell("ended", id_)
        if not streams.is_used and self._streams.get(id_) is streams:
            del self._streams[id_]

    def _tell(self, what: str, id_: str) -> None:
        os.set_blocking(self._port.fileno(), True)  # the daemon always reads
        try:
            self._port.send({"is": what, "id": id_})
        except OSError:
            pass  # the daemon has ended, as serve() is about to see
        finally:
            os.set_blocking(self._port.fileno(), False)


def _open_log(arguments: "list[Any] | None") -> "Log | None":
    """Return the log, or None if there shall be none or it cannot be opened: a full disk must not stop a container."""
    try:
        return Log(*arguments) if arguments else None
    except OSError as error:
        print(f"pyrund: {error.filename}: {error.strerror}: output is lost", file=sys.stderr)
        return None


class _Follower:
    """A client of the log, as of `docker logs`. It reads files, so that it delays nobody however slow it is."""

    def __init__(self, loop: Loop, fd: int, message: "Message") -> None:
        self._loop = loop
        self._fd = fd
        self._wanted = message["wanted"]
        self._is_framed = message["framed"]
        self._has_times = message["times"]
        self._details = message["details"].encode("utf-8", "surrogateescape")
        self._follows = message["follows"]
        self._type = message["type"]
        self._chosen = message["path"], message["tail"], message["since"], message["until"]

    async def serve(self, streams: Streams) -> None:
        history = None
        try:
            history = History(*self._chosen)
            headers = {"Content-Type": self._type, "Transfer-Encoding": "chunked"}
            await self._loop.write_all(self._fd, response.head(200, headers, closes=True))
            await self._send_all(streams, history)
            await self._loop.write_all(self._fd, LAST_CHUNK)
        except OSError:
            pass  # the client has gone, or the log has
        finally:
            if history:
                history.close()
            self._loop.close(self._fd)

    async def _send_all(self, streams: Streams, history: History) -> None:
        while not history.is_over:
            grown, is_last = streams.grown, not (self._follows and streams.is_open)
            while (entries := history.next()) is not None:
                data = b"".join(self._shown(*entry) for entry in entries if entry[0] in self._wanted)
                if data:
                    await self._loop.write_all(self._fd, chunk(data))
                await self._loop.sleep(0)  # a client that reads fast would have all of our time
            if is_last:
                return
            arrival = self._loop.readable(self._fd)
            await first(grown, arrival)
            if arrival.is_done and read_now(self._fd, 1) == b"":
                return  # the client has closed the connection

    def _shown(self, stream: str, time: str, text: bytes) -> bytes:
        data = (time.encode() + b" " if self._has_times else b"") + self._details + text
        return framed(stream, data) if self._is_framed else data
