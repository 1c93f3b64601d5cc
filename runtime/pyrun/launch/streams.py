"""The standard streams of a container that has no terminal: the caller's own, or what stands for them.

    --stdin, --stdout, --stderr FILE   that file
    a pipe, with `run --detach`        /dev/null ("drop"): the container would keep it open, and its reader would wait
    a pipe, with `create`              the same unless it leads to a process that called us ("look"): such a one made it
                                       to hear the container; one in a shell's pipeline leads to a sibling
    a pipe, with --pid-file or `run`   that pipe ("keep")

All else, files, terminals, sockets and named pipes, is the caller's choice and is handed on.
"""

import os
import stat

from pyrun.container.state import process_stat
from pyrun.errors import UsageError

NAMES = ("stdin", "stdout", "stderr")

_IN = os.O_RDONLY | os.O_NOCTTY | os.O_CLOEXEC
# O_APPEND: two streams that share a file must not write over each other.
_OUT = os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_NOCTTY | os.O_CLOEXEC


def select(files: "dict[str, str]", pipes: str) -> "list[int]":
    """Return descriptors of the three streams; `files` are paths by the stream's name, `pipes` is as above."""
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
    """Tell whether a process that we descend from has the other end of our pipe `fd`, or might have."""
    pipe = os.readlink(f"/proc/self/fd/{fd}")
    other_end = stat.S_IWUSR if fd == 0 else stat.S_IRUSR
    pid = os.getppid()
    try:
        while pid:
            if any(_is_end(f"/proc/{pid}/fd/{name}", pipe, other_end) for name in os.listdir(f"/proc/{pid}/fd")):
                return True
            found = process_stat(pid)
            pid = found[3] if found else 0  # it ended: then it does not listen
    except (FileNotFoundError, ProcessLookupError):
        return False  # it ended: then it does not listen
    except PermissionError:
        return pid != 1  # another user's, as with sudo; but pid 1, where nobody may look into it, calls no runtime
    return False


def _is_end(link: str, pipe: str, end: int) -> bool:
    """The mode of a link in /proc/PID/fd says for what the descriptor was opened, proc(5)."""
    try:
        return os.readlink(link) == pipe and bool(os.lstat(link).st_mode & end)
    except (FileNotFoundError, ProcessLookupError):
        return False  # closed since we have listed it
