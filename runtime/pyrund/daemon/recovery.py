"""What the engine does when it begins, after an orderly end and after any other: it finds out what there is.

Containers and execs that run have a monitor, which has kept our ends of their streams: these are taken back. Those that
have ended have a record. What has neither was killed together with the machine, or was half made.
"""

import sys

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.pidfd import pidfd_getfd
from pyrun.container import exit_status
from pyrun.container import state as states
from pyrun.container.process import open_process
from pyrund.daemon import executions, health, lifecycle, linking, monitors, naming, networking, stopping, volumes
from pyrund.daemon.building import undo as undo_build
from pyrund.daemon.stopping import save
from pyrund.errors import logged
from pyrund.launch.ends import kept_names
from pyrund.model import container as model
from pyrund.model import exec as exec_model
from pyrund.model.container import UNKNOWN_STATUS
from pyrund.model.times import ZERO, nanoseconds, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.state import Container as State
    from pyrund.daemon.engine import Engine
    from pyrund.messages import Message
    from pyrund.model.container import Container
    from pyrund.model.exec import Exec

_OURS = 4  # the number of our end of a monitor's socket in the monitor; those of the streams follow (launch/start.py)


async def recover(engine: "Engine") -> None:
    """Find out what there is. What cannot be read is left, and what cannot be removed is for the next engine: both are
    told, and hinder nothing else."""
    places = engine.places
    ended: list[Container] = []
    for name in engine.volumes.load():
        await _try(engine, {"do": "remove_volume", "folder": name})
    for id_ in os.listdir(places.containers):
        try:
            container = model.load(places, id_)
        except Error as error:
            print(f"pyrund: {error}: left as it is", file=sys.stderr)
            continue
        if container is None:
            await _try(engine, {"do": "remove", "id": id_, "all": True})
            continue
        engine.containers.add(container)
        if await _recover_container(engine, container):
            ended.append(container)
    await _finish(engine, ended)
    # Of containers that were half made, or half removed with their volumes.
    left = [one for one in engine.volumes if one.owner and engine.containers.get(one.owner) is None]
    await logged(volumes.remove_all(engine, left), "volumes")
    for id_ in os.listdir(places.states) if os.path.isdir(places.states) else []:
        if engine.containers.get(id_) is None and not os.path.exists(places.document(id_)):
            await _try(engine, {"do": "remove", "id": id_})
    for id_ in os.listdir(places.execs) if os.path.isdir(places.execs) else []:
        exec_ = exec_model.load(places, id_)
        if exec_ and engine.containers.get(exec_.container_id):
            await _recover_exec(engine, exec_)
        else:
            _dismiss(exec_)
            exec_model.discard(places, id_)
    await logged(networking.recover(engine), "networks")
    await logged(linking.recover(engine), "links")
    await logged(naming.recover(engine), "names")
    for id_ in os.listdir(places.builds) if os.path.isdir(places.builds) else []:
        await undo_build(engine, id_)
    for container in engine.containers:
        if not container.is_running and container.is_wanted():
            lifecycle.start_again(engine, container)


async def _try(engine: "Engine", message: "Message") -> None:
    await logged(engine.launcher.do(engine.loop, message), str(message.get("id") or message["folder"]))


async def _recover_container(engine: "Engine", container: "Container") -> bool:
    """Take the container back if it runs; return whether it has ended and left something to be done."""
    state = _state(engine, container.id)
    monitor = await take_back(engine, container) if state else -1
    await stopping.let_go(engine, container)
    if monitor >= 0 and state:
        _note_start(engine, container, state)
        container.pid = state.pid
        container.is_paused = state.status() == "paused"
        engine.loop.spawn(lifecycle.watch(engine, container, monitor))
        health.begin(engine, container)
        return False
    has_state = os.path.isdir(f"{engine.places.states}/{container.id}")
    if has_state or (container.document["StartedAt"] != ZERO and container.document["FinishedAt"] == ZERO):
        _note_end(engine, container, state)
        return True
    if any(one.id for one in container.endpoints.values()):
        container.leave_networks()  # the engine was killed before a worker had begun to start it
        save(container)
    return bool(container.host_config.get("AutoRemove"))  # as dockerd: whoever was about to start it cannot any more


def _state(engine: "Engine", id_: str) -> "State | None":
    try:
        return states.load(engine.places.states, id_)
    except (Error, OSError):
        return None  # it does not run, or was half made


def _note_start(engine: "Engine", container: "Container", state: "State") -> None:
    """Note that the container was started, if the engine was killed before it could do that."""
    if container.document["StartedAt"] < state.created:
        container.note_start(state.pid, state.created)
        engine.events.of_container(container, "start", nanoseconds(state.created))
        save(container)


def _note_end(engine: "Engine", container: "Container", state: "State | None") -> None:
    """Note that the container has ended while no engine was there."""
    try:
        found = exit_status.recorded(state) if state else {}
    except (Error, OSError):
        found = {}  # half made
    if found and state:
        _note_start(engine, container, state)
        container.note_end(found["exitCode"], found["finished"], found["oomKilled"])
    elif container.document["StartedAt"] != ZERO and container.document["FinishedAt"] == ZERO:
        container.note_end(UNKNOWN_STATUS, now())
    else:
        container.leave_networks()  # its end is known: the engine was killed when it removed what was left of that run


async def _finish(engine: "Engine", ended: "list[Container]") -> None:
    """Tell of ends for which there was no engine, and remove what those runs have left.

    An engine that is killed meanwhile has told of them, or the next one finds them again.
    """
    told = engine.events.last_of_containers("die") if ended else {}
    for container in ended:
        started, finished = container.document["StartedAt"], container.document["FinishedAt"]
        if finished != ZERO and told.get((container.id, "die"), 0) < nanoseconds(started):
            lifecycle.tell_end(engine, container, nanoseconds(finished))
        save(container)
        await _try(engine, {"do": "remove", "id": container.id})
        if container.host_config.get("AutoRemove"):
            await logged(lifecycle.remove(engine, container, force=True, with_volumes=True), container.id)


async def take_back(engine: "Engine", container: "Container") -> int:
    """Let the streams process have the container's streams again; return our end of the monitor's socket, or -1."""
    state = _state(engine, container.id)
    if state is None:
        return -1
    config = container.config
    names = kept_names(config["Tty"], config["OpenStdin"], not config["StdinOnce"])
    ours = _take(state.monitor, 1 + len(names))
    if not ours:
        return -1
    monitor, *streams = ours
    await lifecycle.open_streams(engine, container, names, streams)
    for fd in streams:
        os.close(fd)
    return monitor


def _take(monitor: "tuple[int, int]", count: int) -> "list[int]":
    """Return copies of what the monitor has kept for us; [] if it has ended."""
    pidfd = open_process(*monitor)
    if pidfd < 0:
        return []
    taken: list[int] = []
    try:
        for number in range(_OURS, _OURS + count):
            taken.append(pidfd_getfd(pidfd, number))
        return taken
    except OSError:
        for fd in taken:
            os.close(fd)
        return []  # it has ended meanwhile
    finally:
        os.close(pidfd)


async def _recover_exec(engine: "Engine", exec_: "Exec") -> None:
    engine.execs[exec_.id] = exec_
    monitor = await take_back_exec(engine, exec_)
    exec_.has_begun = monitor >= 0 or os.path.exists(exec_.record)
    if monitor >= 0:
        exec_.is_running = exec_.has_monitor = True
        engine.loop.spawn(executions.watch(engine, exec_, monitor))
    elif exec_.has_begun:
        executions.note_end(engine, exec_)


def _dismiss(exec_: "Exec | None") -> None:
    """Let the monitor of an exec go, whose container has gone."""
    pid, start_time = exec_.document["Monitor"] if exec_ else (0, 0)
    for monitor in _take((pid, start_time), 1) if pid else ():
        monitors.dismiss(monitor)
        os.close(monitor)


async def take_back_exec(engine: "Engine", exec_: "Exec") -> int:
    """The same as take_back(), for an exec. Its client has gone, so nobody sees its output, but it must not wait."""
    pid, start_time = exec_.document["Monitor"]
    names = kept_names(exec_.config["Tty"], False, False)
    ours = _take((pid, start_time), 1 + len(names))
    if not ours:
        return -1
    monitor, *streams = ours
    await engine.streams.send({"do": "open", "id": exec_.id, "names": names, "log": None}, tuple(streams))
    for fd in streams:
        os.close(fd)
    return monitor


async def give_streams_again(engine: "Engine") -> None:
    """The streams process was killed, and another one has begun."""
    for container in engine.containers:
        monitor = await take_back(engine, container) if container.is_running else -1
        if monitor >= 0:
            os.close(monitor)  # lifecycle.watch() has one
    for exec_ in list(engine.execs.values()):
        monitor = await take_back_exec(engine, exec_) if exec_.is_running else -1
        if monitor >= 0:
            os.close(monitor)
    await naming.recover(engine)
