"""How a container that runs is stopped: signals, the freezer, and patience."""

import _signal
import sys

from foundation.errors import Error, reason
from foundation.linux import os, whole_file
from pyrun.container.process import open_process
from pyrun.container.state import load as load_state
from pyrund.errors import ApiError, logged
from pyrund.launch.launcher import WorkerLost
from pyrund.loop import first
from pyrund.spec import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.messages import Message
    from pyrund.model.container import Container

_DEFAULT_PATIENCE = 10  # seconds between the stop signal and SIGKILL
_PATIENCE_AFTER_KILL = 30.0


def send_signal(engine: "Engine", container: "Container", number: int) -> None:
    """Raises ApiError if the container does not run. After its stop signal, or SIGKILL, it is not started again."""
    if container.is_active and number in (_signal.SIGKILL, stop_signal(container)):
        _stop_by_hand(container)
        if not container.is_running:
            return  # it was to be started again
    pidfd = -1
    if container.is_running:
        try:
            state = load_state(engine.places.states, container.id)
            pidfd = open_process(state.pid, state.start_time)
        except Error:
            pass  # it has just ended
    if pidfd < 0:
        raise ApiError(409, f"container {container.id} is not running")
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        raise ApiError(409, f"container {container.id} is not running") from None
    finally:
        os.close(pidfd)
    engine.events.of_container(container, "kill", signal=str(number))


async def deliver(engine: "Engine", container: "Container", number: int) -> None:
    """Send a signal. A paused container that it asks to end goes on, because it could not obey. Raises ApiError."""
    send_signal(engine, container, number)
    if number in (_signal.SIGKILL, stop_signal(container)):
        await thaw(engine, container)


async def stop(engine: "Engine", container: "Container", patience: "int | None", signal: str) -> bool:
    """Ask the container to end, and kill it after `patience` seconds (negative: never).

    Returns False if it does not run.
    """
    if not container.is_active:
        return False
    _stop_by_hand(container)
    if not container.is_running:  # it was to be started again
        engine.events.of_container(container, "stop")
        return True
    if patience is None:
        patience = container.config.get("StopTimeout")
    if patience is None:
        patience = _DEFAULT_PATIENCE
    ended = container.next_exit
    number = signals.number(signal) if signal else stop_signal(container)
    try:
        send_signal(engine, container, number)
        await thaw(engine, container)
    except ApiError:
        pass  # it has just ended
    if patience < 0:
        await ended
    else:
        await engine.loop.in_time(ended, patience)
    if not ended.is_done:
        await kill(engine, container)
    engine.events.of_container(container, "stop")
    return True


async def kill(engine: "Engine", container: "Container") -> None:
    """Kill the container and wait for its end. Raises ApiError if it does not end."""
    ended = container.next_exit
    _stop_by_hand(container)
    if not container.is_running:
        return
    try:
        await deliver(engine, container, _signal.SIGKILL)
    except ApiError:
        if not container.is_running:
            return
    await first(ended, container.removed, engine.loop.sleep(_PATIENCE_AFTER_KILL))
    if not (ended.is_done or container.removed.is_done):
        raise ApiError(500, f"cannot kill container: {container.name}: its init {container.pid} does not end")


async def freeze(engine: "Engine", container: "Container") -> None:
    async with container.turns:
        if not container.is_running:
            raise ApiError(409, f"container {container.id} is not running")
        if container.is_paused:
            raise ApiError(409, f"container {container.id} is already paused")
        await engine.launcher.do(engine.loop, {"do": "freeze", "id": container.id, "thaw": False})
        container.is_paused = True
    engine.events.of_container(container, "pause")


async def checkpoint(engine: "Engine", container: "Container", message: "Message") -> None:
    """Have a worker write the container to files as `message` says; it then ends if that `ends` it."""
    async with container.turns:
        if not container.is_running:
            raise ApiError(409, f"container {container.id} is not running")
        try:
            await engine.launcher.do(engine.loop, message)
        except WorkerLost:
            await let_go(engine, container)
            raise
        if message["ends"]:
            _stop_by_hand(container)
    engine.events.of_container(container, "checkpoint")


async def hold(engine: "Engine", container: "Container") -> None:
    """Freeze the container, which runs and is not paused, until let_go(). Whoever calls this has its turn.

    Its clients see nothing of that, and an engine that begins after this one was killed lets it go. Raises ApiError.
    """
    mark = engine.places.held_mark(container.id)
    whole_file.put(mark, b"", f"{mark}.new")
    await engine.launcher.do(engine.loop, {"do": "freeze", "id": container.id, "thaw": False})


async def let_go(engine: "Engine", container: "Container") -> None:
    """Let the container go on if it is held, also by a worker or an engine that was killed."""
    mark = engine.places.held_mark(container.id)
    if not os.path.exists(mark):
        return
    thawing = engine.launcher.do(engine.loop, {"do": "freeze", "id": container.id, "thaw": True})
    await logged(thawing, container.id)  # it may have ended
    os.unlink(mark)


async def thaw(engine: "Engine", container: "Container") -> bool:
    """Let a paused container go on; return False if it is not paused."""
    if not container.is_paused:
        return False
    await engine.launcher.do(engine.loop, {"do": "freeze", "id": container.id, "thaw": True})
    container.is_paused = False
    engine.events.of_container(container, "unpause")
    return True


def _stop_by_hand(container: "Container") -> None:
    """From now on the container's restart policy does not start it."""
    if container.note_stop_by_hand():
        save(container)


def stop_signal(container: "Container") -> int:
    return signals.number(container.config.get("StopSignal") or "TERM")


def save(container: "Container") -> None:
    """Save what has happened. A full disk must not make us forget a container that runs, or let others wait for it."""
    try:
        container.save()
    except OSError as error:
        print(f"pyrund: {reason(error)}", file=sys.stderr)
