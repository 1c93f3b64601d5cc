"""Hooks: programs that run at fixed points of a container's life (config.md#posix-platform-hooks)."""

import _signal
import os
import select

from pyrun import log
from pyrun.errors import Error
from pyrun.spec.encode import encode
from pyrun.spec.node import root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.spec.config import Hook

# Annotations as crun's: files that all hooks append their output to, instead of it being quoted where they fail.
STDOUT = "run.oci.hooks.stdout"
STDERR = "run.oci.hooks.stderr"

# How much of a failed hook's output its error quotes.
_QUOTED = 4096


def spawn(hook: "Hook", streams: "list[int]") -> int:
    """Execute `hook` here, in the runtime's namespaces, and return its pid."""
    environment = os.environ if hook.env is None else dict(_pair(entry) for entry in hook.env)
    actions = [(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)]
    arguments = hook.args or [hook.path]
    # Python ignores SIGPIPE and SIGXFSZ, and execve hands that down.
    ignored = (_signal.SIGPIPE, _signal.SIGXFSZ)
    return os.posix_spawn(hook.path, arguments, environment, file_actions=actions, setsigmask=(), setsigdef=ignored)


def open_output(annotations: "dict[str, str]", bundle: str) -> "list[int]":
    """Return where standard output and standard error of hooks go, -1 for what only an error quotes."""
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

    `start` executes a hook with [stdin, stdout, stderr] and returns its pid, a child of ours. `output` is that of
    open_output(), where it had to be opened before.
    """
    if not hooks:
        return
    streams = output or open_output(state.get("annotations", {}), state["bundle"])
    given = encode(state).encode("utf-8", "surrogateescape")
    for index, hook in enumerate(hooks):
        _run_one(f"error running {kind} hook #{index}", hook, given, start, streams)
    if not output:
        for fd in streams:
            if fd >= 0:
                os.close(fd)


def run_leniently(kind: str, hooks: "list[Hook]", state: "dict[str, Any]") -> None:
    """Run all of `hooks`; one that fails is only warned of, as the spec has it for poststop."""
    for hook in hooks:
        try:
            run(kind, [hook], state)
        except Error as error:
            log.warning(str(error))


def of_kind(kind: str, stored: "dict[str, Any]") -> "list[Hook]":
    """Return the hooks of `kind` among those that a state directory keeps."""
    if not stored.get(kind):
        return []
    from pyrun.spec.config import Hook  # most containers have none

    return [Hook(hook) for hook in root(stored, "state.json").objects(kind)]


def _run_one(
    blame: str, hook: "Hook", state: bytes, start: "Callable[[Hook, list[int]], int]", streams: "list[int]"
) -> None:
    # Files, not pipes: a hook that reads nothing, writes a lot or leaves a daemon behind cannot make us wait.
    given = _memory_file("state", state)
    output = _memory_file("output", b"")
    try:
        status = wait(start(hook, [given, *(output if fd < 0 else fd for fd in streams)]), hook.timeout)
        if status != 0:
            raise Error(f"{blame}: {hook.path}: {_ended(status, hook.timeout)}{_quote(output)}")
    except OSError as error:
        raise Error(f"{blame}: {hook.path}: {error.strerror}") from error
    finally:
        os.close(given)
        os.close(output)


def _memory_file(name: str, content: bytes) -> int:
    fd = os.memfd_create(name, os.MFD_CLOEXEC)
    os.write(fd, content)
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


def _pair(entry: str) -> "tuple[str, str]":
    name, _, value = entry.partition("=")
    return name, value


def wait(pid: int, timeout: "int | None") -> "int | None":
    """Return the wait status of our child `pid`; after `timeout` seconds kill it and return None."""
    if timeout is not None:
        pidfd = os.pidfd_open(pid)
        try:
            ended = select.poll()
            ended.register(pidfd, select.POLLIN)
            if not ended.poll(timeout * 1000):
                os.kill(pid, 9)
                os.waitpid(pid, 0)
                return None
        finally:
            os.close(pidfd)
    return os.waitpid(pid, 0)[1]


def _ended(status: "int | None", timeout: "int | None") -> str:
    if status is None:
        return f"still ran after {timeout} s and was killed"
    code = os.waitstatus_to_exitcode(status)
    return f"exit status {code}" if code >= 0 else f"killed by signal {-code}"


def _quote(output: int) -> str:
    size = os.fstat(output).st_size
    text = os.pread(output, _QUOTED, max(0, size - _QUOTED)).decode("utf-8", "replace").strip()
    text = " ".join(text.split())
    # A hook in the container is the image's program: what it writes must not steer our caller's terminal.
    text = "".join(character if character.isprintable() else "?" for character in text)
    return f": {text}" if text else ""
