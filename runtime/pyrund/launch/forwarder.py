"""The daemon's side of the workers that carry what arrives at published ports (forward.py), where no table of rules
does that."""

import sys

from foundation.errors import reason
from pyrund.errors import ApiError
from pyrund.messages import receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.launch.launcher import Launcher
    from pyrund.loop import Loop, Task
    from pyrund.messages import Port
    from pyrund.net.ports import Published

_PAUSE = 0.1  # seconds before another worker begins: one that ends at once must not keep the engine busy


class Forwarder:
    """Has a worker carry what arrives at `sockets`, each the reservation of a port, until end() is called.

    If the worker is killed, another one begins. `name` is for the log.
    """

    def __init__(self, launcher: "Launcher", loop: "Loop", name: str, sockets: "list[tuple[Published, int]]") -> None:
        self._launcher = launcher
        self._loop = loop
        self._name = name
        self._sockets = sockets
        self._port: Port | None = None  # that of the worker, if there is one
        self._is_ending = False
        self._task: Task[None] = loop.spawn(self._carry())

    async def _carry(self) -> None:
        while not self._is_ending:
            try:
                self._port = await self._launcher.ask(self._loop, {"do": "forward"})
                await self._serve(self._port)
            except (ApiError, OSError) as error:
                if not self._is_ending:
                    print(f"pyrund: {self._name}: published ports: {reason(error)}", file=sys.stderr)
            finally:
                if self._port:
                    self._loop.close(self._port.detach())
                    self._port = None
            if not self._is_ending:
                await self._loop.sleep(_PAUSE)

    async def _serve(self, port: "Port") -> None:
        """Give the worker the sockets, and wait for its end."""
        for published, fd in self._sockets:
            await self._send(port, published, fd)
        if self._is_ending:
            port.finish()
        while (await receive(self._loop, port))[0] is not None:
            pass

    async def _send(self, port: "Port", published: "Published", fd: int) -> None:
        message = {"protocol": published.protocol, "address": published.address, "port": published.port}
        while True:
            try:
                return port.send(message, (fd,))
            except BlockingIOError:
                await self._loop.writable(port.fileno())

    async def end(self) -> None:
        """Return when nobody but the engine has the sockets."""
        self._is_ending = True
        if self._port:
            self._port.finish()
        await self._task
