"""Programs that are started, and have a monitor: containers and execs."""

from foundation.linux import os
from foundation.linux.whole_file import write_all
from pyrund.launch.launcher import checked
from pyrund.messages import receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from pyrund.daemon.engine import Engine
    from pyrund.loop import Loop
    from pyrund.messages import Message


async def begin(
    engine: "Engine", request: "Message", take: "Callable[[list[str], list[int]], Awaitable[None]]"
) -> "tuple[Message, int]":
    """Have a worker start a program and become its monitor; return its answer, and our end of the monitor's socket.

    `take` gives the names and descriptors of our ends of the streams, which are closed here afterwards, to the streams
    process. Raises ApiError.
    """
    port = await engine.launcher.ask(engine.loop, request)
    descriptors: list[int] = []

    async def give() -> int:
        number = engine.streams.number
        await take(begun["names"], descriptors[1:])
        return number

    try:
        answer, descriptors = await receive(engine.loop, port)
        begun = checked(answer)
        given_to = await give()
        checked((await receive(engine.loop, port))[0])
        while given_to != engine.streams.number:  # it was killed, and the next one was given only what is known to run
            given_to = await give()
        return begun, descriptors.pop(0)
    finally:
        engine.loop.close(port.detach())
        for fd in descriptors:
            os.close(fd)


async def ended(loop: "Loop", monitor: int) -> None:
    """Wait until the program has ended, which the monitor tells by a byte, or by its own end.

    The byte stays unread: if this engine is killed before it has recorded the end, the next one must see it too.
    """
    try:
        await loop.readable(monitor)
    except OSError:
        pass  # EBADF: it was closed meanwhile


def dismiss(monitor: int) -> None:
    """Let the monitor go: it has kept the streams until all of their content was read."""
    try:
        write_all(monitor, b"1")
    except OSError:
        pass  # it was killed
