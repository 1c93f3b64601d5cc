"""How a container ended: the record that its monitor leaves (launch/monitor.py).

The file `exit` in the state directory is there, empty, before the container is, and is written once, by one write(2):
who reads it finds nothing or all. It is not renamed into place, so that a `wait` that has it open still reads it when
`delete` has removed it.

     0   8 bytes   PIDFD_INFO_EXIT
    60   4 bytes   the status, as wait(2) has it
    64  16 bytes   when: seconds and nanoseconds since the epoch

The first 64 bytes are laid out as struct pidfd_info of <linux/pidfd.h>: so `wait` reads one form, whether a monitor
tells it or the kernel itself (Linux 6.15).
"""

import os
import select

from pyrun.container.state import EXIT, Container, exit_code, open_process, timestamp

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PIDFD_INFO_EXIT = 1 << 3
STATUS_OFFSET = 60
TIME_OFFSET = 64
SIZE = 80

_PATIENCE_MS = 1000


def make(container: Container) -> None:
    """Make the file of `container`, which is to have a monitor."""
    os.close(os.open(f"{container.directory}/{EXIT}", os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))


def open_(container: Container) -> int:
    return os.open(f"{container.directory}/{EXIT}", os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)


def await_monitor(container: Container) -> None:
    """Wait for the monitor of a container that has ended: it needs some microseconds to say so."""
    pidfd = open_process(*container.monitor)
    if pidfd < 0:
        return
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    ended.poll(_PATIENCE_MS)  # one that was stopped by a signal must not stop us too
    os.close(pidfd)


def outcome(container: Container) -> "dict[str, Any]":
    """Return what `state` and `list` print of a container that has ended; nothing where its monitor was killed."""
    await_monitor(container)
    file = open_(container)
    try:
        record = os.read(file, SIZE)
    finally:
        os.close(file)
    if len(record) < SIZE:
        return {}
    seconds, nanoseconds = _integer(record, TIME_OFFSET, 8), _integer(record, TIME_OFFSET + 8, 8)
    return {
        "exitCode": exit_code(_integer(record, STATUS_OFFSET, 4)),
        "finished": timestamp(seconds * 1_000_000_000 + nanoseconds),
        "oomKilled": container.cgroup().oom_kills() > 0,
    }


def _integer(record: bytes, offset: int, size: int) -> int:
    return int.from_bytes(record[offset : offset + size], "little")
