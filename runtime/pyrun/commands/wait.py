"""pyrun wait: print how containers end, and exit as the first of them that failed.

What waits is the last mile (launch/last_mile.py), not Python: 24 kB for each of those who wait.
"""

import os
from fcntl import ioctl

from pyrun.container.exit import PIDFD_INFO_EXIT, SIZE, open_
from pyrun.container.state import Container, load, open_process
from pyrun.errors import Error
from pyrun.launch import last_mile
from pyrun.launch.departure import reset_signals
from pyrun.launch.table import WORD, Address, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings

_POLLIN = 1
_PIDFD_GET_INFO = 0xC040FF0B  # <linux/pidfd.h>, with its first size, 64
_COLLECTED_WITHIN = 5  # seconds: who made a container has that long to collect it before its exit status is given up


def run(settings: "Settings", *ids: str) -> None:
    containers = [load(settings.root, id_) for id_ in ids]
    table = Table(report=2)
    for container in containers:
        _wait(table, container)
    table.call("end")
    memfd = last_mile.open_program()
    reset_signals()
    last_mile.carry_out(memfd, table, (b"wait", *map(os.fsencode, ids)))


def _wait(table: Table, container: Container) -> None:
    """Append the rows that wait for the end of `container` and tell its exit status."""
    why = "it was made without a monitor (--monitor)"
    record = table.block(bytes(SIZE))
    if container.monitor[0]:
        # First the process: if it has gone, its record is complete.
        monitor, file = open_process(*container.monitor), open_(container)
        if monitor >= 0:
            _poll(table, monitor)
        if monitor >= 0 or os.fstat(file).st_size:
            os.set_inheritable(file, True)
            table.call("pread64", file, record, SIZE, 0)
            _tell(table, container, record, "its monitor was killed")
            return
        why = "its monitor was killed"
    if not container.pid:
        raise Error(f"container {container.id} is not created yet")
    init = open_process(container.pid, container.start_time)
    if init >= 0:
        _poll(table, init)
        if _kernel_tells():
            # What the kernel knows of a process it tells when that was collected: then the pidfd is hung up.
            table.call("ppoll", table.block(init.to_bytes(WORD, "little")), 1, table.words(_COLLECTED_WITHIN, 0), 0, 0)
            request = table.block(PIDFD_INFO_EXIT.to_bytes(WORD, "little").ljust(SIZE, b"\0"))
            table.call("ioctl", init, _PIDFD_GET_INFO, request)
            record = request
    _tell(table, container, record, why)


def _poll(table: Table, pidfd: int) -> None:
    """Append the row that waits until the process of `pidfd` has ended."""
    os.set_inheritable(pidfd, True)
    pollfd = pidfd.to_bytes(4, "little") + _POLLIN.to_bytes(4, "little")
    table.call("ppoll", table.block(pollfd), 1, 0, 0, 0)


def _tell(table: Table, container: Container, record: Address, why: str) -> None:
    message = f"error: the exit status of container {container.id} is not known: {why}\n".encode()
    table.call("tell", record, table.block(message), len(message))


def _kernel_tells() -> bool:
    """Whether the kernel tells everybody the exit status of a process that was collected (Linux 6.15)."""
    child = os.fork()
    if child == 0:
        os._exit(0)
    pidfd = os.pidfd_open(child)
    os.waitpid(child, 0)
    info = bytearray(PIDFD_INFO_EXIT.to_bytes(64, "little"))
    try:
        ioctl(pidfd, _PIDFD_GET_INFO, info)
    except OSError:
        return False  # ENOTTY before Linux 6.13, then ESRCH
    finally:
        os.close(pidfd)
    return bool(info[0] & PIDFD_INFO_EXIT)
