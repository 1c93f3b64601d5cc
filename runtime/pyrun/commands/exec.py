"""pyrun exec"""

from foundation import interrupts
from foundation.errors import Error, did_you_mean, reason
from foundation.linux import os
from foundation.linux.capability import CAPABILITIES
from foundation.node import UINT32
from pyrun import log
from pyrun.cgroup.group import Cgroup
from pyrun.config.document import Config, Process, load_config
from pyrun.config.node import Node
from pyrun.config.process_rules import validate_process
from pyrun.container.process import has_ended
from pyrun.container.state import Container, load
from pyrun.errors import ConfigError, ExecError, NoContainer, UsageError
from pyrun.launch.exec import NewProcess, Target, end, execute
from pyrun.stdio import descriptors, foreground, sockets
from pyrun.stdio.console import Console

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.options import Settings


_ID_DIGITS = 10
_USER, _GID = "UID[:GID], in numbers", "GID, a number"
_STOPPED = "cannot exec in a stopped container"


def run(
    settings: "Settings",
    id_: str,
    *command: str,
    process: str = "",
    detach: bool = False,
    console_socket: str = "",
    pidfd_socket: str = "",
    pid_file: str = "",
    preserve_fds: str = "0",
    cgroup: str = "",
    ignore_paused: bool = False,
    **changes: "Any",
) -> int:
    """Execute a process in the container, and return its exit status, or 0 with --detach.

    `changes` are the options that change the config's process. Raises UsageError if an option that is a number has
    another value, with the exit code 1, as by runc; every other error is ExecError, whose exit code is 255.
    """
    descriptors.check(preserve_fds)
    for gid in changes.get("additional_gids", ()):
        _id("--additional-gids", gid, _GID)
    try:
        container = load(settings.root, id_)
        _check_status(container, ignore_paused)
        config = load_config(container.config_file)
        for name in changes.get("cap", ()):
            if name not in CAPABILITIES:
                log.warning(f"--cap: {name!r} is unknown and left out{did_you_mean(f'CAP_{name}', CAPABILITIES)}")
        wanted = _wanted(config, list(command), process, changes)
        console = Console(wanted, detach, console_socket)
        preserved = descriptors.receive(preserve_fds)
        if detach:
            interrupts.interrupt_once()
        else:
            foreground.hold_signals()
        with Target(container, _cgroup(container, cgroup)) as target:
            log.debug(f"exec {' '.join(wanted.args)} in {container.id}, whose init is {container.pid}")
            new = NewProcess(container, "running", config, wanted, preserved)
            pid, terminal = execute(target, new, console.take)
            _tell(pid, pidfd_socket, pid_file)
            log.debug(f"process {pid} of {container.id} runs")
    except (Error, OSError) as error:
        raise ExecError(f"exec failed: {_why(error, settings.root, id_)}") from error
    if detach:
        return 0
    try:
        return foreground.attend(pid, terminal)
    except OSError:
        _end_uncollected(pid)
        raise


def _end_uncollected(pid: int) -> None:
    """End our child `pid`, for which nobody waits any more, unless it has been collected."""
    try:
        if os.waitpid(pid, os.WNOHANG)[0] == 0:
            end(pid)
    except ChildProcessError:
        pass


def _tell(pid: int, pidfd_socket: str, pid_file: str) -> None:
    """Report the process, our child, to the caller. If that fails, end it, because the caller could not find it."""
    try:
        if pidfd_socket:
            sockets.send_pidfd(pidfd_socket, pid)
        if pid_file:
            sockets.write_pid_file(os.path.abspath(pid_file), pid)
    except BaseException:
        end(pid)
        raise


def _why(error: "Error | OSError", root: str, id_: str) -> str:
    """Return the reason of the error: if something failed while the container ended, that is the reason."""
    if not isinstance(error, (ConfigError, UsageError)):
        try:
            container = load(root, id_)
            if has_ended(container.pid, container.start_time):
                return _STOPPED
        except NoContainer as deleted:
            return reason(deleted)
        except (Error, OSError):
            pass  # the state cannot be read, which `error` says
    return reason(error)


def _check_status(container: Container, ignore_paused: bool) -> None:
    status = container.status()
    if status == "stopped":
        raise Error(_STOPPED)
    if status == "paused" and not ignore_paused:
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")


def _wanted(config: Config, command: "list[str]", path: str, changes: "dict[str, Any]") -> Process:
    """Return the process to execute: that of the file `path`, or the config's with the changes of the command line."""
    if path:
        process = Process(Node.load(path, path))
    elif command:
        # Words of the command line may contain any bytes. JSON is text, so they bypass it.
        env, cwd = changes.pop("env", None), changes.pop("cwd", "")
        process = Process(Node(_changed(config, **changes), "process: "))
        process.args = command
        process.env += env or []
        process.cwd = cwd or process.cwd
    else:
        raise UsageError('"pyrun exec" requires a command after the ID, or --process FILE')
    validate_process(process, config)
    return process


def _changed(
    config: Config,
    tty: bool = False,
    user: str = "",
    additional_gids: "list[str] | None" = None,
    process_label: str = "",
    apparmor: str = "",
    no_new_privs: bool = False,
    cap: "list[str] | None" = None,
) -> "dict[str, Any]":
    """Return the JSON of the config's process, changed by those options of `exec` that are names and numbers."""
    json: dict[str, Any] = dict(config.process.json.properties) if config.process else {"cwd": "/"}
    json["terminal"] = tty
    if user or additional_gids:
        json["user"] = _user(json.get("user") or {}, user, additional_gids or [])
    if process_label:
        json["selinuxLabel"] = process_label
    if apparmor:
        json["apparmorProfile"] = apparmor
    if no_new_privs:
        json["noNewPrivileges"] = True
    if cap:
        # Not inheritable: then any program with file capabilities could gain them (CVE-2022-27650). So they become
        # ambient only if the config makes them inheritable.
        sets = dict(json.get("capabilities") or {})
        for name in ("bounding", "effective", "permitted", "ambient"):
            sets[name] = [*sets.get(name, ()), *cap]
        json["capabilities"] = sets
    return json


def _user(json: "dict[str, Any]", user: str, additional_gids: "list[str]") -> "dict[str, Any]":
    if user:
        uid, colon, gid = user.partition(":")
        # As in runc, the gid defaults to 0; the config's additional groups are kept.
        json = {**json, "uid": _id("--user", uid, _USER), "gid": _id("--user", gid, _USER) if colon else 0}
    if additional_gids:
        gids = [_id("--additional-gids", gid, _GID) for gid in additional_gids]
        json = {**json, "additionalGids": [*json.get("additionalGids", ()), *gids]}
    return json


def _id(option: str, text: str, form: str) -> int:
    """Return the id `text`. A text that is not an id must never become 0 (CVE-2026-30892)."""
    # Check the length first: int() of thousands of digits is slow, or raises a ValueError.
    if not (text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS) or int(text) >= UINT32[1]:
        raise UsageError(f'{option}: "{text}" is not an id: {form}')
    return int(text)


def _cgroup(container: Container, option: str) -> Cgroup:
    """Return the cgroup `[CONTROLLER[,CONTROLLER]:]PATH` below the container's; for "" the container's itself."""
    if not option:
        return container.cgroup().beside(container.pid)
    controllers, colon, path = option.rpartition(":")
    return container.cgroup().below(path, tuple(controllers.split(",")) if colon else ())
