"""The exit status of a container, in the record that its monitor (stub/monitor.py) writes when the init has ended.

The file `exit` in the state directory is made, empty, before the container. It is written once, by one write(2), so a
reader finds either nothing or the whole record. It is not renamed into place, because a `wait` that has the file open
must still be able to read the record after `delete` has removed the file.

     0   8 bytes   PIDFD_INFO_EXIT
    60   4 bytes   the status, as wait(2) returns it
    64  16 bytes   the time: seconds and nanoseconds since the epoch

The first 64 bytes are laid out as struct pidfd_info of <linux/pidfd.h>, so that `wait` reads the same structure from a
monitor and from the kernel (PIDFD_GET_INFO, Linux 6.15).
"""

import select

from foundation.linux import os
from foundation.linux.opened import opened
from pyrun.container.process import exit_code, open_process
from pyrun.container.state import EXIT, Container, timestamp
from pyrun.errors import NoContainer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PIDFD_INFO_EXIT = 1 << 3
STATUS_OFFSET = 60
TIME_OFFSET = 64
SIZE = 80

_PATIENCE_MS = 1000


def make(container: Container) -> None:
    """Make the empty record of `container`. Raises FileExistsError if there is one."""
    os.close(os.open(f"{container.directory}/{EXIT}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def open_(container: Container) -> int:
    """Return a descriptor of the record; the caller closes it. Raises NoContainer if the container is deleted."""
    try:
        return os.open(f"{container.directory}/{EXIT}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        raise NoContainer(container.id) from None  # another command has just deleted it


def await_monitor(container: Container) -> None:
    """Wait up to 1 s for the monitor of a container that has ended: it may not have written the record yet."""
    pidfd = open_process(*container.monitor)
    if pidfd < 0:
        return
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    ended.poll(_PATIENCE_MS)  # with a limit, because the monitor may be stopped (SIGSTOP)
    os.close(pidfd)


def outcome(container: Container) -> "dict[str, Any]":
    """Return what `state` and `list` print about the end of a container; {} if its monitor was killed."""
    await_monitor(container)
    return recorded(container)


def recorded(container: Container) -> "dict[str, Any]":
    """Return the same, without waiting for the monitor."""
    with opened(open_(container)) as file:
        found = read(file)
    return {**found, "oomKilled": container.cgroup().oom_kills() > 0} if found else {}


def read(file: int) -> "dict[str, Any]":
    """Return what the record open as `file` says; {} if it is empty."""
    record = os.read(file, SIZE)
    if len(record) < SIZE:
        return {}
    seconds, nanoseconds = _integer(record, TIME_OFFSET, 8), _integer(record, TIME_OFFSET + 8, 8)
    return {
        "exitCode": exit_code(_integer(record, STATUS_OFFSET, 4)),
        "finished": timestamp(seconds * 1_000_000_000 + nanoseconds),
    }


def _integer(record: bytes, offset: int, size: int) -> int:
    return int.from_bytes(record[offset : offset + size], "little")
