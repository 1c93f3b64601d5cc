"""What happens to an exec: it is started once, ends, and is forgotten some minutes later."""

import sys

from foundation.errors import reason
from foundation.linux import os
from pyrun.container import exit_status
from pyrund.daemon import monitors
from pyrund.errors import ApiError, shell_status
from pyrund.model import names
from pyrund.model.container import UNKNOWN_STATUS
from pyrund.model.exec import Exec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.model.container import Container

    Json = dict[str, Any]

_REMEMBERED = 300.0  # seconds after its end


def refuse_unless_running(container: "Container") -> None:
    """Raise ApiError, with docker's words, if no process can be executed in the container now."""
    if container.attempt:
        raise ApiError(409, f"container {container.name} is restarting, wait until the container is running")
    if not container.is_running:
        raise ApiError(409, f"container {container.id} is not running")
    if container.is_paused:
        raise ApiError(409, f"container {container.name} is paused, unpause the container before exec")


def create(engine: "Engine", container: "Container", config: "Json") -> Exec:
    """Make an exec; `config` is its ExecConfig, complete."""
    document = {
        "ID": names.new_id(),
        "ContainerID": container.id,
        "ExecConfig": config,
        "Pid": 0,
        "Monitor": [0, 0],
    }
    exec_ = Exec(engine.places, document)
    try:
        exec_.make_folder()
        exec_.save()
    except OSError:
        exec_.remove_folder()
        raise
    engine.execs[exec_.id] = exec_
    engine.events.of_container(container, f"exec_create: {' '.join(config['Cmd'])}", execID=exec_.id)
    return exec_


async def start(engine: "Engine", exec_: Exec) -> None:
    """Start the exec. Raises ApiError and OSError; inspect then shows an exit code as a shell's."""
    container = engine.containers.find(exec_.container_id)
    command = " ".join(exec_.config["Cmd"])
    engine.events.of_container(container, f"exec_start: {command}", execID=exec_.id)

    async def take(names: "list[str]", descriptors: "list[int]") -> None:
        message = {"do": "open", "id": exec_.id, "names": names, "log": None}
        await engine.streams.send(message, tuple(descriptors))

    try:
        exec_.save()
        begun, monitor = await monitors.begin(engine, {"do": "execute", "id": exec_.id}, take)
    except (ApiError, OSError) as error:
        exec_.exit_code = shell_status(reason(error), 126)
        exec_.is_settled.set(None)
        engine.loop.spawn(_forget(engine, exec_))
        # Clients are shown why; and the streams process forgets the exec.
        await engine.streams.send({"do": "fail", "id": exec_.id, "text": f"{reason(error)}\r\n"})
        raise
    exec_.is_running = exec_.has_monitor = True
    exec_.is_settled.set(None)
    exec_.document.update(Pid=begun["pid"], Monitor=begun["monitor"])  # which the worker has written down
    engine.loop.spawn(watch(engine, exec_, monitor))


async def watch(engine: "Engine", exec_: Exec, monitor: int) -> None:
    """Wait for the end of the exec; `monitor` is our end of its monitor's socket, which is closed."""
    os.set_blocking(monitor, False)
    await monitors.ended(engine.loop, monitor)
    note_end(engine, exec_)  # before the client's connection is closed, because it then asks for the exit code
    await engine.streams.end(exec_.id)
    monitors.dismiss(monitor)
    engine.loop.close(monitor)
    exec_.has_monitor = False
    if exec_.id not in engine.execs:
        _remove_folder(exec_)


def note_end(engine: "Engine", exec_: Exec) -> None:
    """The exec has ended: read how, and forget it some minutes later."""
    exec_.exit_code = _recorded(exec_)
    exec_.is_running = False
    exec_.ended.set(exec_.exit_code)
    container = engine.containers.get(exec_.container_id)
    if container:
        engine.events.of_container(container, "exec_die", execID=exec_.id, exitCode=str(exec_.exit_code))
    engine.loop.spawn(_forget(engine, exec_))


def _recorded(exec_: Exec) -> int:
    try:
        file = os.open(exec_.record, os.O_RDONLY | os.O_CLOEXEC)
    except FileNotFoundError:
        return UNKNOWN_STATUS  # it was removed together with the container
    try:
        return int(exit_status.read(file).get("exitCode", UNKNOWN_STATUS))
    finally:
        os.close(file)


async def _forget(engine: "Engine", exec_: Exec) -> None:
    await engine.loop.sleep(_REMEMBERED)
    forget(engine, exec_)


def forget(engine: "Engine", exec_: Exec) -> None:
    """Forget the exec. The folder of one that runs stays until watch() has dismissed its monitor; if this engine is
    killed before, the next one finds the monitor by that."""
    if engine.execs.pop(exec_.id, None) and not exec_.has_monitor:
        _remove_folder(exec_)


def _remove_folder(exec_: Exec) -> None:
    try:
        exec_.remove_folder()
    except OSError as error:  # the next engine that begins tries again
        print(f"pyrund: {reason(error)}", file=sys.stderr)
