"""Hooks: programs that run at fixed points of a container's life (config.md#posix-platform-hooks)."""

import _signal
import select
import time

from foundation import interrupts
from foundation.encode import encode
from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.opened import close_all_on_exec
from foundation.linux.whole_file import write_all
from pyrun import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.config.document import Hook

# crun's annotations: files to which all hooks append their output. Without them, errors quote the output of a hook.
STDOUT = "run.oci.hooks.stdout"
STDERR = "run.oci.hooks.stderr"

# How much of a failed hook's output its error quotes.
_QUOTED = 4096
_LONGEST_POLL_MS = (1 << 31) - 1  # poll(2) takes an int; a timeout in the config may be longer


def spawn(hook: "Hook", streams: "list[int]", environment: "list[str] | None" = None) -> int:
    """Execute `hook` in our own namespaces and working directory, and return its pid; the caller collects it.

    `streams` are its descriptors 0, 1 and 2. `environment` is used if the config has none for the hook; by default it
    is ours. Raises OSError.
    """
    entries = environment if hook.env is None else hook.env
    variables = os.environment if entries is None else dict(_pair(entry) for entry in entries)
    close_all_on_exec()  # a hook gets only its streams, as with runc
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    name, *arguments = hook.args or [hook.path]
    # Reset SIGPIPE and SIGXFSZ: Python ignores them, and the hook would inherit that through execve(2).
    ignored = (_signal.SIGPIPE, _signal.SIGXFSZ)
    return os.posix_spawn(
        hook.path,
        [name or hook.path, *arguments],  # Python refuses an empty argv[0]
        variables,
        file_actions=actions,
        setsigmask=(),
        setsigdef=ignored,
    )


def open_output(annotations: "dict[str, str]", bundle: str) -> "list[int]":
    """Return descriptors for the standard output and error of hooks; -1 for one without an annotation.

    The caller closes them. Relative paths start at `bundle`. Raises Error.
    """
    return [_open(name, annotations[name], bundle) if name in annotations else -1 for name in (STDOUT, STDERR)]


def _open(name: str, path: str, bundle: str) -> int:
    flags = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(os.path.join(bundle, path), flags, 0o600)
    except OSError as error:
        raise Error(f"annotations['{name}']: {path}: {error.strerror}") from error


def run(
    kind: str,
    hooks: "list[Hook]",
    state: "dict[str, Any]",
    start: "Callable[[Hook, list[int]], int]" = spawn,
    output: "list[int] | None" = None,
) -> None:
    """Run `hooks` in order with `state` on their standard input. Raises Error at the first that fails.

    `start` executes a hook with the streams [stdin, stdout, stderr] and returns its pid, which must be a child of ours.
    `output` is the result of open_output() if the caller had to open it earlier; the caller then closes it.
    """
    if not hooks:
        return
    streams = output or open_output(state.get("annotations", {}), state["bundle"])
    given = encode(state).encode("utf-8", "surrogateescape")
    try:
        for index, hook in enumerate(hooks):
            _run_one(f"error running {kind} hook #{index}", hook, given, start, streams)
    finally:
        for fd in streams if not output else ():
            if fd >= 0:
                os.close(fd)


def run_leniently(kind: str, hooks: "list[Hook]", state: "dict[str, Any]") -> None:
    """Run all of `hooks` and log a warning for each that fails (runtime.md#lifecycle: poststop)."""
    for hook in hooks:
        try:
            run(kind, [hook], state)
        except (Error, OSError) as error:
            log.warning(reason(error))


def _run_one(
    blame: str, hook: "Hook", state: bytes, start: "Callable[[Hook, list[int]], int]", streams: "list[int]"
) -> None:
    # Use files, not pipes: a hook that reads nothing, writes a lot or leaves a daemon behind then cannot block us.
    given = _memory_file("state", state)
    output = _memory_file("output", b"")
    mask = interrupts.hold()  # until wait(): a hook whose pid is not known would be left running
    try:
        try:
            pid = start(hook, [given, *(output if fd < 0 else fd for fd in streams)])
        except (Error, OSError, ValueError) as error:  # ValueError: Python refuses the argument
            raise Error(f"{blame}: {reason(error)}") from error
        status = wait(pid, hook.timeout, mask)
        if status != 0:
            raise Error(f"{blame}: {hook.path}: {_ended(status, hook.timeout)}{_quote(output)}")
    finally:
        os.close(given)
        os.close(output)
        interrupts.release(mask)  # if there was no hook to wait for


def _memory_file(name: str, content: bytes) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    write_all(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _pair(entry: str) -> "tuple[str, str]":
    name, _, value = entry.partition("=")
    return name, value


def wait(pid: int, timeout: "int | None", mask: "set[int]") -> "int | None":
    """Return the wait status of our child `pid`; after `timeout` seconds kill it and return None.

    `mask` is what interrupts.hold() returned before there was a child; it is restored. If we are interrupted, the child
    is killed and collected, too: a hook may be in the container's pid namespace, and the init cannot end before all
    processes of that are collected (pid_namespaces(7)).
    """
    try:
        interrupts.release(mask)
        if timeout is None or _ends_within(pid, timeout):
            return os.waitpid(pid, 0)[1]
    except BaseException:
        _kill(pid)
        raise
    _kill(pid)
    return None


def _ends_within(pid: int, timeout: int) -> bool:
    pidfd = os.pidfd_open(pid)
    try:
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        deadline = time.monotonic() + timeout
        while (left := deadline - time.monotonic()) > 0:
            if ended.poll(min(int(left * 1000) + 1, _LONGEST_POLL_MS)):
                return True
        return False
    finally:
        os.close(pidfd)


def _kill(pid: int) -> None:
    os.kill(pid, _signal.SIGKILL)
    os.waitpid(pid, 0)


def _ended(status: "int | None", timeout: "int | None") -> str:
    if status is None:
        return f"still ran after {timeout} s and was killed"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"killed by signal {-code}"


def _quote(output: int) -> str:
    size = os.fstat(output).st_size
    text = os.pread(output, _QUOTED, max(0, size - _QUOTED)).decode("utf-8", "replace").strip()
    text = " ".join(text.split())
    return f": {text}" if text else ""
