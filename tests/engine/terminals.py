"""Programs on terminals of the tests' own."""

import fcntl
import os
import pty
import select
import struct
import termios
import time

PATIENCE = 20


def in_terminal(*command, environment=None):
    """Return (master, pid) of `command` on a terminal of 33 lines and 101 columns."""
    pid, master = pty.fork()
    if pid == 0:
        set_size(0, 33, 101)
        os.execve(command[0], list(map(str, command)), {**os.environ, **(environment or {})})
    return master, pid


def set_size(terminal, height, width):
    fcntl.ioctl(terminal, termios.TIOCSWINSZ, struct.pack("HHHH", height, width, 0, 0))


def expect(master, words, data=b""):
    """Return `data` and what comes after it, up to `words`."""
    deadline = time.monotonic() + PATIENCE
    while words not in data:
        ready = select.select([master], [], [], max(0, deadline - time.monotonic()))[0]
        assert ready, data
        data += os.read(master, 4096)
    return data


def rest_of(master, pid):
    """Return (all that comes until the program ends, its exit status)."""
    data = b""
    deadline = time.monotonic() + PATIENCE
    while select.select([master], [], [], max(0, deadline - time.monotonic()))[0]:
        try:
            data += os.read(master, 4096)
        except OSError:  # EIO: the program has ended
            break
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    os.close(master)
    return data, status
