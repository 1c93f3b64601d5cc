"""The standard streams of a container without a terminal: the caller's own, files, or /dev/null.

    --stdin, --stdout, --stderr FILE   that file
    a pipe, with `run --detach`        /dev/null ("drop"): the container would keep the pipe open, and its reader would
                                       wait for the container's end
    a pipe, with `create`              /dev/null, unless an ancestor of ours holds the other end ("look"): it opened the
                                       pipe to read the container. In a shell pipeline a sibling holds the other end
    a pipe, with --pid-file or `run`   the pipe ("keep")

The container inherits everything else, such as files, terminals, sockets and named pipes.
"""

import _stat as stat

from foundation.linux import os
from pyrun.container.process import process_stat
from pyrun.errors import UsageError

NAMES = ("stdin", "stdout", "stderr")

_IN = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC
# O_APPEND, because two streams that share a file must not overwrite each other.
_OUT = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC


def select(files: "dict[str, str]", pipes: str) -> "list[int]":
    """Return descriptors for the three streams, which may be 0, 1 and 2 themselves; the caller closes the others.

    `files` maps a stream's name to a path; `pipes` is "keep", "drop" or "look". Raises UsageError.
    """
    return [_select(number, files.get(name, ""), pipes) for number, name in enumerate(NAMES)]


def _select(number: int, path: str, pipes: str) -> int:
    if path:
        try:
            return os.open(path, _OUT if number else _IN, 0o666)
        except OSError as error:
            raise UsageError(f"--{NAMES[number]} {path}: {error.strerror}") from error
    if pipes != "keep" and _is_pipe(number) and (pipes == "drop" or not _leads_to_caller(number)):
        return os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
    return number


def _is_pipe(fd: int) -> bool:
    return stat.S_ISFIFO(os.fstat(fd).st_mode) and os.readlink(f"/proc/self/fd/{fd}").startswith("pipe:")


def _leads_to_caller(fd: int) -> bool:
    """Return whether an ancestor of this process has the other end of our pipe `fd`, or may have it."""
    pipe = os.readlink(f"/proc/self/fd/{fd}")
    other_end = stat.S_IWUSR if fd == 0 else stat.S_IRUSR
    pid = os.getppid()
    try:
        while pid:
            if any(_is_end(f"/proc/{pid}/fd/{name}", pipe, other_end) for name in os.listdir(f"/proc/{pid}/fd")):
                return True
            found = process_stat(pid)
            pid = found[3] if found else 0  # an ancestor that has ended does not read the pipe
    except (FileNotFoundError, ProcessLookupError):
        return False  # an ancestor that has ended does not read the pipe
    except PermissionError:
        # An ancestor of another user, as with sudo, may have it. Not pid 1: it does not call a runtime.
        return pid != 1
    return False


def _is_end(link: str, pipe: str, end: int) -> bool:
    """Return whether the /proc/PID/fd `link` is the `end` of `pipe`: its mode is the descriptor's access, proc(5)."""
    try:
        return os.readlink(link) == pipe and bool(os.lstat(link).st_mode & end)
    except (FileNotFoundError, ProcessLookupError):
        return False  # it was closed after we listed it
