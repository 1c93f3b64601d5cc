"""The health checks of containers that run: each is an exec, whose output is kept."""

import time
from _signal import SIGKILL, pidfd_send_signal

from foundation.errors import reason
from foundation.linux import os
from foundation.linux.socketpair import STREAM, socketpair
from pyrun.container.process import process_stat
from pyrund.daemon import executions
from pyrund.errors import ApiError
from pyrund.loop import first
from pyrund.model.health import check_of
from pyrund.model.times import now
from pyrund.streams.process import attach_for_us

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.model.container import Container
    from pyrund.model.exec import Exec
    from pyrund.model.health import HealthCheck

_MOST_OUTPUT = 4096  # bytes of a result
_CHUNK = 1 << 16
_NOT_ENDED = -1  # what docker has as the exit code of a check that was ended, or could not begin


def begin(engine: "Engine", container: "Container") -> None:
    """The container runs: check its health until it ends, if its Config says so."""
    container.health = check_of(container.config)
    if container.health:
        engine.loop.spawn(_watch(engine, container, container.health))


async def _watch(engine: "Engine", container: "Container", check: "HealthCheck") -> None:
    ended, started = container.next_exit, _started(container)
    while not ended.is_done:
        await first(ended, engine.loop.sleep(check.pause(_clock() - started)))
        if ended.is_done or container.is_paused:
            continue
        begun, age = now(), _clock() - started
        try:
            code, output = await _result(engine, container, check)
        except (ApiError, OSError) as error:
            code, output = _NOT_ENDED, reason(error)
        if ended.is_done:
            break
        if check.note(age, {"Start": begun, "End": now(), "ExitCode": code, "Output": output}):
            engine.events.of_container(container, f"health_status: {check.status}")


def _started(container: "Container") -> float:
    """Return when the container's init began, by _clock(): StartedAt is of a clock that may be set meanwhile."""
    stat = process_stat(container.pid)
    return stat[2] / os.sysconf("SC_CLK_TCK") if stat else 0.0


def _clock() -> float:
    return time.clock_gettime(time.CLOCK_BOOTTIME)


async def _result(engine: "Engine", container: "Container", check: "HealthCheck") -> "tuple[int, str]":
    """Return the exit code and the output of one check. Raises ApiError and OSError if it cannot begin."""
    exec_ = executions.create(engine, container, _config(check.command))
    ours, theirs = socketpair(STREAM)
    client = ours.detach()
    os.set_blocking(client, False)
    try:
        await engine.streams.send(attach_for_us(exec_.id, framed=False), (theirs.fileno(),))
        theirs.close()
        output = engine.loop.spawn(_output(engine, client))
        exec_.has_begun = True
        await executions.start(engine, exec_)
        if not await engine.loop.in_time(exec_.ended, check.timeout):
            _kill(exec_)
            await exec_.ended
            text = await output
            what = f"Health check exceeded timeout ({_go_duration(check.timeout)})"
            return _NOT_ENDED, f"{what}: {text}" if text else what
        return exec_.ended.result(), await output
    finally:
        engine.loop.close(client)
        executions.forget(engine, exec_)


async def _output(engine: "Engine", client: int) -> str:
    """Return what comes after the head of the response, the beginning alone if it is long."""
    data, is_cut = b"", False
    while piece := await engine.loop.read(client, _CHUNK):
        data += piece
        head, end, body = data.partition(b"\r\n\r\n")
        if len(body) > _MOST_OUTPUT:
            data, is_cut = head + end + body[:_MOST_OUTPUT], True
    text = data.partition(b"\r\n\r\n")[2].decode("utf-8", "replace")
    return f"{text}..." if is_cut else text


def _go_duration(seconds: float) -> str:
    """Return the time as Go prints it: 300ms, 30s, 1m30s."""
    if seconds < 1:
        return f"{1000 * seconds:g}ms"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes:.0f}m{seconds:g}s" if minutes else f"{seconds:g}s"


def _kill(exec_: "Exec") -> None:
    """Kill the process of the exec, if it is still the child of its monitor: its pid may be another process's."""
    try:
        pidfd = os.pidfd_open(exec_.document["Pid"])
    except OSError:
        return  # it has just ended
    try:
        stat = process_stat(exec_.document["Pid"])
        if stat and stat[3] == exec_.document["Monitor"][0]:
            pidfd_send_signal(pidfd, SIGKILL)
    except ProcessLookupError:
        pass
    finally:
        os.close(pidfd)


def _config(command: "list[str]") -> "dict[str, object]":
    """Return the ExecConfig of a check."""
    flags = {"Tty": False, "AttachStdin": False, "AttachStdout": True, "AttachStderr": True, "Privileged": False}
    return {"Cmd": command, "Env": [], "User": "", "WorkingDir": "", "DetachKeys": "", "ConsoleSize": None, **flags}
