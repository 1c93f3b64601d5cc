"""pyrun exec"""

import os

from pyrun.cgroup.group import Cgroup
from pyrun.container.state import Container, load
from pyrun.errors import Error, ExecError, UsageError, reason
from pyrun.launch import descriptors, foreground, sockets
from pyrun.launch.console import Console
from pyrun.launch.join import Joining, Target, join
from pyrun.spec.config import Config, Process, load_config
from pyrun.spec.node import UINT32, Node
from pyrun.spec.node import load as load_json
from pyrun.spec.process_rules import validate_process

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cli import Settings
    from pyrun.confine.seccomp import Filter


_ID_DIGITS = 10


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
    try:
        container = load(settings.root, id_)
        _check_status(container, ignore_paused)
        config = load_config(container.config_file)
        wanted = _wanted(config, list(command), process, changes)
        console = Console(wanted, detach, console_socket)
        preserved = descriptors.receive(preserve_fds)
        if not detach:
            foreground.hold_signals()
        target = Target(container, _cgroup(container, cgroup))
        joining = Joining(wanted, preserved, config, container.pid)
        pid = join(target, joining, console.take, _listener(container, joining.confinement.filter))
    except (Error, OSError) as error:
        raise ExecError(f"exec failed: {reason(error)}") from error
    if pidfd_socket:
        sockets.send_pidfd(pidfd_socket, pid)
    if pid_file:
        sockets.write_pid_file(os.path.abspath(pid_file), pid)
    return 0 if detach else foreground.attend(pid, console.master)


def _check_status(container: Container, ignore_paused: bool) -> None:
    status = container.status()
    if status == "stopped":
        raise Error("cannot exec in a stopped container")
    if status == "paused" and not ignore_paused:
        raise Error("cannot exec in a paused container (use --ignore-paused to override)")


def _wanted(config: Config, command: "list[str]", path: str, changes: "dict[str, Any]") -> Process:
    """Return the process to execute: the file's alone, or the bundle's as the command line changes it."""
    if path:
        process = Process(load_json(path, path))
    elif command:
        process = Process(Node(_changed(config, command, **changes), "process: "))
    else:
        raise UsageError('"pyrun exec" requires a command after the ID, or --process FILE')
    validate_process(process, config)
    return process


def _changed(
    config: Config,
    command: "list[str]",
    cwd: str = "",
    env: "list[str] | None" = None,
    tty: bool = False,
    user: str = "",
    additional_gids: "list[str] | None" = None,
    process_label: str = "",
    apparmor: str = "",
    no_new_privs: bool = False,
    cap: "list[str] | None" = None,
) -> "dict[str, Any]":
    """Return the JSON of the config's process with the options of `exec` in it."""
    json: dict[str, Any] = dict(config.process.json.properties) if config.process else {"cwd": "/"}
    json = {**json, "args": command, "terminal": tty, "env": [*json.get("env", ()), *(env or ())]}
    if cwd:
        json["cwd"] = cwd
    if user or additional_gids:
        json["user"] = _user(json.get("user") or {}, user, additional_gids or [])
    if process_label:
        json["selinuxLabel"] = process_label
    if apparmor:
        json["apparmorProfile"] = apparmor
    if no_new_privs:
        json["noNewPrivileges"] = True
    if cap:
        # Not inheritable: that would let any program with file capabilities have them (CVE-2022-27650).
        sets = dict(json.get("capabilities") or {})
        for name in ("bounding", "effective", "permitted"):
            sets[name] = [*sets.get(name, ()), *cap]
        json["capabilities"] = sets
    return json


def _user(json: "dict[str, Any]", user: str, additional_gids: "list[str]") -> "dict[str, Any]":
    if user:
        uid, colon, gid = user.partition(":")
        # Without a gid it is 0, as with runc; the config's groups are those of the config's user.
        json = {**json, "uid": _id("--user", uid), "gid": _id("--user", gid) if colon else 0}
    if additional_gids:
        gids = [_id("--additional-gids", gid) for gid in additional_gids]
        json = {**json, "additionalGids": [*json.get("additionalGids", ()), *gids]}
    return json


def _id(option: str, text: str) -> int:
    """Return the number `text`; what is none, or no id, must never become 0 (CVE-2026-30892)."""
    # The length first: int() of thousands of digits raises another ValueError, or takes its time.
    if not (text.isascii() and text.isdigit() and len(text) <= _ID_DIGITS) or int(text) >= UINT32[1]:
        raise UsageError(f'{option}: "{text}" is no id: UID[:GID], in numbers')
    return int(text)


def _listener(container: Container, filter_: "Filter | None") -> "Callable[[int, int], None]":
    """Return what delivers the listener of `filter_` for a process that it confines."""

    def take(channel: int, pid: int) -> None:
        from pyrun.launch.listener import deliver  # few filters have one

        assert filter_
        path = os.path.join(container.bundle, filter_.listener_path)
        deliver(channel, pid, path, filter_.listener_metadata, container, "running")

    return take


def _cgroup(container: Container, option: str) -> Cgroup:
    """Return the cgroup that `[CONTROLLER[,CONTROLLER]:]PATH` names, below the container's own; by default that."""
    if not option:
        return container.cgroup().beside(container.pid)
    controllers, colon, path = option.rpartition(":")
    return container.cgroup().below(path, tuple(controllers.split(",")) if colon else ())
