"""What the caller gets of a new process: its terminal or a pidfd over a socket, and a file with its pid."""

import _socket
import _stat as stat
from fcntl import ioctl

from foundation.linux import os, whole_file
from foundation.linux.opened import opened

TIOCGPTN = 0x80045430
_SUN_PATH_MAXIMUM = 107  # unix(7)


def send_terminal(path: str, master: int) -> None:
    """Send the master end of a terminal, and its name, to the socket at `path` (runc's docs/terminals.md).

    `master` stays open here. Raises OSError with `path`.
    """
    number = int.from_bytes(ioctl(master, TIOCGPTN, bytes(4)), "little")
    send(path, f"/dev/pts/{number}".encode(), master)


def send_pidfd(path: str, pid: int) -> None:
    """Send a pidfd of the process `pid` to the socket at `path`. Raises OSError."""
    with opened(os.pidfd_open(pid)) as pidfd:
        send(path, b"pidfd", pidfd)


def short_path(directory: int, name: str) -> str:
    """Return a short path of the file `name` in `directory`, a descriptor: a socket's path has at most 107 bytes.

    It is valid while the descriptor is open and /proc is the host's.
    """
    return f"/proc/self/fd/{directory}/{name}"


def send(path: str, data: bytes, descriptor: int) -> None:
    """Send `data` and a copy of `descriptor` to the stream socket at `path`. Raises OSError with `path`."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        _connect(connection, path)
        rights = descriptor.to_bytes(4, "little")
        connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    except OSError as error:
        error.filename = path
        raise
    finally:
        connection.close()


def _connect(connection: "_socket.socket", path: str) -> None:
    with opened(os.open(os.path.dirname(path) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
        is_short = len(os.fsencode(path)) <= _SUN_PATH_MAXIMUM
        connection.connect(path if is_short else short_path(directory, os.path.basename(path)))


def write_pid_file(path: str, pid: int) -> None:
    """Write `pid` as digits without a newline, as go-runc and conmon read it; atomically, so that they read all of it.

    A device or a FIFO, as /dev/stdout may be, is written to, as by crun; runc puts a file in its place. Raises OSError
    with `path`.
    """
    directory, name = os.path.split(path)
    data = b"%d" % pid
    try:
        if _is_special(path):
            with opened(os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)) as fd:
                whole_file.write_all(fd, data)
            return
        whole_file.put(path, data, f"{directory}/.{name}", 0o644)
    except OSError as error:
        error.filename = path  # not the temporary name, which the caller does not know
        raise


def _is_special(path: str) -> bool:
    """Return whether `path` leads to something that is neither a file nor a directory, perhaps through a symlink."""
    try:
        mode = os.stat(path).st_mode
    except OSError:
        return False  # usually there is nothing; if there is another error, the attempt to write tells it
    return not (stat.S_ISREG(mode) or stat.S_ISDIR(mode))
