"""The process that accepts connections of TLS, and gives the daemon the bytes as plain ones."""

import _signal
import _socket
import select
import sys

from foundation.errors import reason
from foundation.linux import os
from foundation.linux.prctl import end_with
from foundation.linux.socketpair import STREAM, socketpair
from pyrund.errors import Refused
from pyrund.messages import Port, pair, receive
from pyrund.process import LOCK, PORT, settle

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import NoReturn

    from pyrund.loop import Loop

_MOST = 256  # connections
_READY = {"ready": True}
_FIRST_PAUSE, _LONGEST_PAUSE = 0.05, 10.0  # seconds before another process begins


class EncryptedProcess:
    """The daemon's side. Another process is begun when it was killed; the sockets stay open here for that.

    ssl is imported there alone: the daemon and its other processes stay small.
    """

    def __init__(self, sockets: "list[_socket.socket]", files: "dict[str, str]", verifies: bool, lock: int) -> None:
        """Begin. Raises Refused if the process cannot."""
        self._sockets = sockets
        self._files = files
        self._verifies = verifies
        self._lock = lock
        self._port = self._begin()
        message, _ = self._port.receive()
        if message != _READY:
            raise Refused(message["error"] if message else "the process for TLS does not start")
        self._port.set_blocking(False)

    def _begin(self) -> Port:
        ours, theirs = pair()
        daemon = os.getpid()
        if os.fork() == 0:
            _run(self._sockets, self._files, self._verifies, theirs, self._lock, daemon)
        theirs.close()
        return ours

    async def serve(self, loop: "Loop", take: "Callable[[int], None]") -> None:
        """Call `take` with each connection. A process that cannot begin is tried again after a pause that grows."""
        pause = _FIRST_PAUSE
        while True:
            message, descriptors = await receive(loop, self._port)
            for fd in descriptors:
                take(fd)
            if message == _READY:
                pause = _FIRST_PAUSE
            elif message is None:
                await loop.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE)
                loop.close(self._port.detach())
                self._port = self._begin()
                self._port.set_blocking(False)
            elif "error" in message:
                print(f"pyrund: {message['error']}", file=sys.stderr)


def _run(
    sockets: "list[_socket.socket]", files: "dict[str, str]", verifies: bool, port: Port, lock: int, daemon: int
) -> "NoReturn":
    try:
        settle(b"pyrund:tls", port.detach(), lock, *(socket.detach() for socket in sockets))
        end_with(daemon, _signal.SIGKILL)
        _signal.signal(_signal.SIGCHLD, _signal.SIG_DFL)
        own = Port.of(PORT)
        from pyrund.tls import server_context

        try:
            context = server_context(files, verifies)
        except OSError as error:
            own.send({"error": f"TLS with {', '.join(files.values())}: {error.strerror or error}"})
            os._exit(1)
        own.send(_READY)
        _accept(own, [_socket.socket(fileno=LOCK + 1 + number) for number in range(len(sockets))], context)
    finally:
        os._exit(0)


def _accept(daemon: Port, sockets: "list[_socket.socket]", context: "ssl.SSLContext") -> None:
    children: set[int] = set()
    waiting = select.poll()
    for socket in sockets:
        waiting.register(socket.fileno(), select.POLLIN)
    by_number = {socket.fileno(): socket for socket in sockets}
    while True:
        ready = waiting.poll(1000 if children else None)
        while children and (ended := os.waitpid(-1, os.WNOHANG if len(children) < _MOST else 0)[0]):
            children.discard(ended)
        for fd, _ in ready:
            try:
                network = _socket.socket(fileno=by_number[fd]._accept()[0])  # type: ignore[attr-defined]
            except OSError:
                continue  # it has gone, or there are too many open files
            try:
                child = os.fork()
            except OSError as error:  # too many processes: the connections that there are must not end with this one
                print(f"pyrund: a connection of TLS: {reason(error)}", file=sys.stderr, flush=True)
                network.close()
                continue
            if child == 0:
                _serve(daemon, network, context)
            children.add(child)
            network.close()


def _serve(daemon: Port, network: "_socket.socket", context: "ssl.SSLContext") -> "NoReturn":
    try:
        end_with(os.getppid(), _signal.SIGKILL)
        network.setblocking(True)
        from pyrund.tls import Carrier

        carrier = Carrier(context, network, True, None)
        carrier.shake_hands()
        ours, theirs = socketpair(STREAM)
        daemon.send({}, (theirs.fileno(),))
        theirs.close()
        carrier.carry(ours)
    except OSError as error:
        print(f"pyrund: a connection of TLS: {error.strerror or error}", file=sys.stderr, flush=True)
    finally:
        os._exit(0)
