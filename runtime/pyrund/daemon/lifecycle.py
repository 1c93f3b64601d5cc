"""What happens to a container: start, end, start again, removal."""

from foundation.errors import Error, reason
from foundation.linux import os
from pyrun.container import exit_status
from pyrun.container.state import load as load_state
from pyrund.daemon import executions, health, linking, monitors, naming, networking, volumes
from pyrund.daemon.stopping import kill, save
from pyrund.errors import ApiError, logged, shell_status
from pyrund.model.container import UNKNOWN_STATUS
from pyrund.model.times import ZERO, nanoseconds, now
from pyrund.spec import log_config, mounts

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.model.container import Container


async def start(engine: "Engine", container: "Container", checkpoint: str = "") -> bool:
    """Start the container, or let it go on from the folder `checkpoint`; return False if it runs already, or will be
    started again. Raises ApiError."""
    async with container.turns:
        if container.is_paused:
            raise ApiError(409, "cannot start a paused container, try unpause instead")
        if container.is_active:
            return False
        if container.is_removing:
            raise ApiError(409, "container is marked for removal and cannot be started")
        container.note_start_by_hand()
        try:
            await _start(engine, container, checkpoint)
        except (ApiError, Error, OSError) as error:
            await _fail_to_start(engine, container, reason(error))
            raise
        engine.events.of_container(container, "start")
    return True


async def _start(engine: "Engine", container: "Container", checkpoint: str = "") -> None:
    async def take(names: "list[str]", descriptors: "list[int]") -> None:
        await open_streams(engine, container, names, descriptors[: len(names)])
        await naming.resolve(engine, container, descriptors[len(names) :])

    await linking.check(engine, container)
    await networking.begin(engine, container)
    request = {"do": "start", "id": container.id, "checkpoint": checkpoint}
    begun, monitor = await monitors.begin(engine, request, take)
    container.note_start(begun["pid"], begun["started"])
    engine.loop.spawn(watch(engine, container, monitor))
    save(container)
    health.begin(engine, container)
    networking.tell(engine, container, networking.joined(engine, container), "connect")
    await linking.tell(engine, container)
    _tell_mounts(engine, container, "mount")


def _tell_mounts(engine: "Engine", container: "Container", action: str, moment: int = 0) -> None:
    """Tell that the container has its volumes, or has let them go."""
    for mount in mounts.of_container(container):
        if mount.kind == "volume":
            use = {"destination": mount.target, "read/write": str(not mount.read_only).lower(), "propagation": ""}
            attributes = {"driver": "local", "container": container.id, **(use if action == "mount" else {})}
            engine.events.tell("volume", action, mount.name, attributes, moment=moment)


async def open_streams(engine: "Engine", container: "Container", names: "list[str]", descriptors: "list[int]") -> None:
    """Let the streams process have our ends of the container's streams, which stay open here."""
    log = [engine.places.log(container.id), *log_config.limits(container.host_config)] if container.has_log else None
    message = {"do": "open", "id": container.id, "names": names, "log": log}
    await engine.streams.send(message, tuple(descriptors))


async def _fail_to_start(engine: "Engine", container: "Container", text: str) -> None:
    """Remember why; clients that wait for the container's end are told that it has ended."""
    await _clean_up(engine, container)
    await networking.release(engine, container)
    await naming.forget(engine, container)
    await engine.streams.end(container.id)
    started = container.document["StartedAt"]
    container.note_end(shell_status(text, 128), now() if started != ZERO else ZERO, error=text)
    save(container)
    container.end_waits()
    if container.host_config.get("AutoRemove"):
        await logged(_remove(engine, container), container.id)


async def watch(engine: "Engine", container: "Container", monitor: int) -> None:
    """Wait for the end of the running container; `monitor` is our end of its monitor's socket, which is closed."""
    os.set_blocking(monitor, False)
    await monitors.ended(engine.loop, monitor)
    async with container.turns:
        await engine.streams.end(container.id)
        code, finished, is_oom = _recorded(engine, container)
        monitors.dismiss(monitor)
        engine.loop.close(monitor)
        await _leave_networks(engine, container)
        left = networking.joined(engine, container)
        container.note_end(code, finished, is_oom)
        attempt = container.note_restart() if container.is_due_again() else None
        save(container)
        moment = nanoseconds(finished)
        tell_end(engine, container, moment if moment < engine.begun else 0)
        networking.tell(engine, container, left, "disconnect")
        container.end_waits()
        if container.host_config.get("AutoRemove") and not container.restarts:
            await logged(_remove(engine, container), container.id)
        else:
            await _clean_up(engine, container)
            if attempt:
                engine.loop.spawn(_start_again(engine, container, attempt))


def tell_end(engine: "Engine", container: "Container", moment: int = 0) -> None:
    """Tell that the container has ended, now or at `moment`."""
    _tell_mounts(engine, container, "unmount", moment)
    if container.document["OOMKilled"]:
        engine.events.of_container(container, "oom", moment)
    engine.events.of_container(container, "die", moment, exitCode=str(container.document["ExitCode"]))


def start_again(engine: "Engine", container: "Container") -> None:
    """Start the container, which has ended, because of its restart policy."""
    attempt = container.note_restart()
    save(container)
    engine.loop.spawn(_start_again(engine, container, attempt))


async def _start_again(engine: "Engine", container: "Container", attempt: object) -> None:
    await engine.loop.sleep(container.restart_delay)
    async with container.turns:
        if container.attempt is not attempt:
            return  # it was stopped, or removed, meanwhile
        try:
            await _start(engine, container)
        except (ApiError, Error, OSError) as error:
            await _fail_to_start(engine, container, reason(error))
        else:
            engine.events.of_container(container, "start")


async def _leave_networks(engine: "Engine", container: "Container") -> None:
    await logged(naming.forget(engine, container), container.id)
    await logged(networking.end(engine, container), container.id)


async def _clean_up(engine: "Engine", container: "Container") -> None:
    """Remove what is left of a run: cgroup and state. If that fails, the next start tries again."""
    await logged(engine.launcher.do(engine.loop, {"do": "remove", "id": container.id}), container.id)


def _recorded(engine: "Engine", container: "Container") -> "tuple[int, str, bool]":
    """Return (exit code, time, whether it was OOM-killed) from the record of the monitor."""
    try:
        found = exit_status.recorded(load_state(engine.places.states, container.id))
    except (Error, OSError):
        found = {}
    if not found:
        return UNKNOWN_STATUS, now(), False  # the monitor was killed
    return found["exitCode"], found["finished"], found["oomKilled"]


# Removal.


async def remove(engine: "Engine", container: "Container", force: bool, with_volumes: bool = False) -> None:
    """Remove the container, `with_volumes` those that have no name too. Raises ApiError if it runs, unless `force`."""
    if container.is_removing:
        raise ApiError(409, f"removal of container {container.name} is already in progress")
    await container.settled()
    if container.is_active:
        if not force:
            what = "paused and must be unpaused first"
            if not container.is_paused:
                what = f"{container.status}: stop the container before removing or force remove"
            raise ApiError(409, f'cannot remove container "/{container.name}": container is {what}')
        await kill(engine, container)
    async with container.turns:
        if container.is_active:
            raise ApiError(409, f'cannot remove container "/{container.name}": it was started again')
        if not container.is_removing:
            await _remove(engine, container, with_volumes)


async def _remove(engine: "Engine", container: "Container", with_volumes: bool = True) -> None:
    """Remove the container; whoever calls this has its turn."""
    container.is_removing = True
    try:
        if not with_volumes:
            volumes.disown(engine, mounts.of_container(container))
        _remove_document(engine, container)  # from now on it is half removed, which recovery finishes
        await engine.launcher.do(engine.loop, {"do": "remove", "id": container.id, "all": True})
    except BaseException as error:
        container.note_failed_removal(error)
        raise
    await engine.streams.end(container.id)  # clients that waited for another start
    for one in [one for one in engine.execs.values() if one.container_id == container.id]:
        executions.forget(engine, one)
    engine.containers.remove(container)
    engine.events.of_container(container, "destroy")
    if with_volumes:
        await logged(volumes.remove_owned(engine, mounts.of_container(container)), container.id)
    container.removed.set(container.document["ExitCode"])


def _remove_document(engine: "Engine", container: "Container") -> None:
    try:
        os.unlink(engine.places.document(container.id))
    except FileNotFoundError:
        pass  # by an attempt that failed
