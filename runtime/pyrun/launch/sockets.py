"""What the caller is given of a new process: its terminal, a pidfd, a file with its pid."""

import _socket
import os

TIOCGPTN = 0x80045430
_SUN_PATH_MAXIMUM = 107  # unix(7)


def send_terminal(path: str, master: int) -> None:
    """Send the master end of a terminal, and its name, to the socket at `path` (runc's docs/terminals.md)."""
    from fcntl import ioctl

    number = int.from_bytes(ioctl(master, TIOCGPTN, bytes(4)), "little")
    send(path, f"/dev/pts/{number}".encode(), master)


def send_pidfd(path: str, pid: int) -> None:
    pidfd = os.pidfd_open(pid)
    send(path, b"pidfd", pidfd)
    os.close(pidfd)


def send(path: str, data: bytes, descriptor: int) -> None:
    """Send `data`, and with it `descriptor`, to the stream socket at `path`."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    directory = os.open(os.path.dirname(path), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        short = f"/proc/self/fd/{directory}/{os.path.basename(path)}"
        connection.connect(path if len(os.fsencode(path)) <= _SUN_PATH_MAXIMUM else short)
        rights = descriptor.to_bytes(4, "little")
        connection.sendmsg([data], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    except OSError as error:
        error.filename = path
        raise
    finally:
        os.close(directory)
        connection.close()


def write_pid_file(path: str, pid: int) -> None:
    """Write `pid` as digits alone: go-runc and conmon read them so, and must never see half of them."""
    directory, name = os.path.split(path)
    temporary = f"{directory}/.{name}"
    try:
        os.unlink(temporary)
    except FileNotFoundError:
        pass  # the usual case; what is there was left by a killed runtime, or planted
    fd = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
    try:
        os.write(fd, b"%d" % pid)
    finally:
        os.close(fd)
    os.rename(temporary, path)
