"""The monitor of a container: the parent that outlives `create` and records how the init ends (container/exit.py).

      caller's child                          its child
      fork ─────────────────────────────────▶ become the runtime: create, start
                                              execute the monitor: Python ends here
                        ◀── a byte, or its end
      exit as it did                          wait for the init, write down how it ended, exit

The monitor is a table of the last mile (launch/table.py): 24 kB in place of an interpreter. It is in the namespaces of
the runtime, with a session of its own and no descriptor but that of the record. No signal disturbs it but SIGTERM,
which ends it: who stops all that runs need not wait for the container.
"""

import _signal
import os

from pyrun.container.exit import PIDFD_INFO_EXIT, SIZE, STATUS_OFFSET, TIME_OFFSET
from pyrun.container.state import EXIT, Container
from pyrun.launch import last_mile
from pyrun.launch.departure import reset_signals
from pyrun.launch.table import WORD, Address, Table
from pyrun.linux.prctl import PR_SET_NAME, PR_SET_PDEATHSIG, prctl
from pyrun.linux.unistd import close_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_NAME = b"pyrun:[monitor]"
_CLOCK_REALTIME = 0
_WALL = 0x40000000  # __WALL of wait(2): children of any kind
_RECORD, _RUNTIME, _PROGRAM = 0, 1, 2  # descriptors


class Monitor:
    """The monitor to be. `status` is what the caller of split_off() exits with, None in the child that goes on."""

    def __init__(self, status: "int | None", runtime: int) -> None:
        self.status = status
        self._runtime = runtime

    def take_over(self, container: Container) -> "NoReturn":
        """Become the monitor of `container`, whose init must be our child. Does not return."""
        record = os.open(f"{container.directory}/{EXIT}", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        memfd = last_mile.open_program()
        os.chdir("/")
        os.setsid()
        prctl(PR_SET_PDEATHSIG, 0)
        reset_signals()
        _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals() - {_signal.SIGTERM})
        os.dup2(record, _RECORD)
        os.dup2(self._runtime, _RUNTIME)
        if memfd >= 0:
            memfd = os.dup2(memfd, _PROGRAM, inheritable=False)
        close_range(_PROGRAM + 1 if memfd >= 0 else _PROGRAM)
        last_mile.carry_out(memfd, _table(container.pid), (b"monitor", os.fsencode(container.id)))


def split_off() -> Monitor:
    """Go on as a child of this process, which waits until that has become the monitor, or has failed."""
    ours, theirs = os.pipe()
    # ^C reaches both: the child undoes what it has made; this process must not hear of it, and exits as the child does.
    _signal.pthread_sigmask(_signal.SIG_BLOCK, [_signal.SIGINT])
    child = os.fork()
    if child == 0:
        # By another signal this process ends first, and takes the child along in the same way. Not by SIGINT, which the
        # caller may ignore, and so the child: a shell does it for what its scripts put into the background.
        _signal.signal(_signal.SIGTERM, _signal.default_int_handler)
        prctl(PR_SET_PDEATHSIG, _signal.SIGTERM)
        _signal.pthread_sigmask(_signal.SIG_UNBLOCK, [_signal.SIGINT])
        os.close(ours)
        return Monitor(None, theirs)
    os.close(theirs)
    if os.read(ours, 1):
        return Monitor(0, -1)
    return Monitor(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), -1)


def _table(init: int) -> Table:
    table = Table(report=-1)  # nobody is left to read one
    record = table.block(PIDFD_INFO_EXIT.to_bytes(WORD, "little").ljust(SIZE, b"\0"))
    table.call("prctl", PR_SET_NAME, table.string(_NAME))
    table.call("write", _RUNTIME, table.string(b"1"), 1)
    table.call("close", _RUNTIME)
    table.call("wait4", init, Address(record + STATUS_OFFSET), _WALL, 0)
    table.call("clock_gettime", _CLOCK_REALTIME, Address(record + TIME_OFFSET))
    table.call("write", _RECORD, record, SIZE)
    table.call("exit_group", 0)
    return table
