"""pyrun wait: print the exit statuses of containers, and exit with the first that is not 0.

The stub (stub/table.py) waits, not Python: each `wait` takes 16 kB.
"""

from fcntl import ioctl

from foundation.errors import Error
from foundation.linux import os
from pyrun.container.exit_status import PIDFD_INFO_EXIT, SIZE, open_
from pyrun.container.process import open_process
from pyrun.container.state import Container, load
from pyrun.stub import carrier
from pyrun.stub.departure import reset_signals
from pyrun.stub.report import WORD
from pyrun.stub.table import Address, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings

_POLLIN = 1
_PIDFD_GET_INFO = 0xC040FF0B  # <linux/pidfd.h>, with its first size, 64
_COLLECTED_WITHIN = 5  # seconds that the parent of an init has to collect it, before its exit status counts as unknown


def run(settings: "Settings", *ids: str) -> None:
    """Replace this process by the stub, which waits. Raises Error if a container is not created yet."""
    containers = [load(settings.root, id_) for id_ in ids]
    table = Table(report=2)
    for container in containers:
        _wait(table, container)
    table.call("end")
    memfd = carrier.open_program()
    reset_signals()
    carrier.carry_out(memfd, table, (b"wait", *map(os.fsencode, ids)))


def _wait(table: Table, container: Container) -> None:
    """Append the rows that wait for the end of `container` and print its exit status."""
    why = "it was made without a monitor (--monitor)"
    record = table.block(bytes(SIZE))
    if container.monitor[0]:
        # Open the process first: if it has ended, its record is complete.
        monitor, file = open_process(*container.monitor), open_(container)
        if monitor >= 0:
            _poll(table, monitor)
        if monitor >= 0 or os.fstat(file).st_size:
            table.inherit(file)
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
            # The kernel gives the exit status once the process has been collected, which hangs up its pidfd.
            table.call("ppoll", table.block(init.to_bytes(WORD, "little")), 1, table.words(_COLLECTED_WITHIN, 0), 0, 0)
            request = table.block(PIDFD_INFO_EXIT.to_bytes(WORD, "little").ljust(SIZE, b"\0"))
            table.call("ioctl", init, _PIDFD_GET_INFO, request)
            record = request
    _tell(table, container, record, why)


def _poll(table: Table, pidfd: int) -> None:
    """Append the row that waits until the process of `pidfd` has ended."""
    table.inherit(pidfd)
    pollfd = pidfd.to_bytes(4, "little") + _POLLIN.to_bytes(4, "little")
    table.call("ppoll", table.block(pollfd), 1, 0, 0, 0)


def _tell(table: Table, container: Container, record: Address, why: str) -> None:
    message = f"error: the exit status of container {container.id} is not known: {why}\n".encode()
    table.call("tell", record, table.block(message), len(message))


def _kernel_tells() -> bool:
    """Return whether any process can ask the kernel for the exit status of a collected process (Linux 6.15)."""
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
