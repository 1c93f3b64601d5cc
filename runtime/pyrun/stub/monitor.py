"""The monitor of a container: the parent that outlives `create` and records the exit status (container/exit_status.py).

      caller's child                          its child
      fork ─────────────────────────────────▶ become the runtime: create, start
                                              execute the monitor: Python ends here
                        ◀── a byte, or end of file
      exit with its status                    wait for the init, record how it ended, exit

The monitor is a stub with a table of its own (stub/table.py): it takes 16 kB, much less than an interpreter. It stays
in the namespaces of the runtime, has its own session, and keeps open only the record. It blocks all signals but
SIGTERM, which ends it: a service manager that stops everything need not wait for the container.

An engine that makes containers by fork() instead of by a command calls keep_watch() itself. It may let the monitor keep
descriptors, the engine's ends of the container's streams: if the engine is killed, its successor takes them from the
monitor by pidfd_getfd(2).
"""

import _signal
from fcntl import F_DUPFD_CLOEXEC, fcntl

from foundation import interrupts
from foundation.linux import os
from foundation.linux.prctl import PR_SET_NAME, PR_SET_PDEATHSIG, end_with, prctl
from pyrun.container.exit_status import PIDFD_INFO_EXIT, SIZE, STATUS_OFFSET, TIME_OFFSET
from pyrun.container.process import exit_code
from pyrun.container.state import EXIT, Container
from pyrun.stub import carrier
from pyrun.stub.departure import reset_handlers
from pyrun.stub.report import WORD
from pyrun.stub.table import Address, Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_NAME = b"pyrun:[monitor]"
_CLOCK_REALTIME = 0
_WALL = 0x40000000  # __WALL of wait(2): children of any kind
_RECORD, _RUNTIME, _STDERR, _ENGINE = 0, 1, 2, 3  # descriptors


class Monitor:
    """The future monitor. `status` is the status to exit with in the parent, None in the child, which goes on."""

    def __init__(self, status: "int | None", runtime: int) -> None:
        self.status = status
        self._runtime = runtime

    def take_over(self, container: Container) -> "NoReturn":
        """Become the monitor of `container`, whose init must be our child. Does not return.

        If it raises, this process can still undo the container and print the error: it keeps standard error until
        Python ends.
        """
        record = os.open(f"{container.directory}/{EXIT}", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        keep_watch(container.pid, os.fsencode(container.id), record, self._runtime)


def keep_watch(child: int, name: bytes, record: int, runtime: int, kept: "tuple[int, ...]" = ()) -> "NoReturn":
    """Become the monitor of the process `child`, which must be a child of ours, with `name` in its command line.

    It writes a byte to `runtime` when Python has ended, and to `record` what container/exit_status.py reads. It keeps
    the descriptors `kept` under the numbers from 3 on. The first of these is a socket: after the end of `child` the
    monitor writes a byte there and keeps the others until it receives one.
    """
    # If the program has ended by now, Python itself does what is left, which takes less than to become the stub.
    has_ended = os.waitid(os.P_PID, child, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    memfd = -1 if has_ended else carrier.open_program()
    os.chdir("/")
    os.setsid()
    prctl(PR_SET_PDEATHSIG, 0)
    # SIGTERM too, until the caller knows, and before the handlers go: a signal would end this process with nobody to
    # undo the container.
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())
    reset_handlers()
    # Above all numbers that are given out below: a source must not be overwritten before it is copied.
    above = _ENGINE + len(kept)
    copies = [fcntl(fd, F_DUPFD_CLOEXEC, above) for fd in (record, runtime, *kept)]
    if memfd >= 0:
        memfd = fcntl(memfd, F_DUPFD_CLOEXEC, above)
    for number, fd in zip((_RECORD, _RUNTIME, *range(_ENGINE, above)), copies):
        os.dup2(fd, number)
    carrier.carry_out(memfd, _table(child, range(_ENGINE, above)), (b"monitor", name))


def split_off() -> Monitor:
    """Fork. The child goes on as the runtime; the parent returns when the child has become the monitor, or ended."""
    ours, theirs = os.pipe()
    # ^C reaches both processes. The child undoes what it has made; the parent passes it on and exits as the child does.
    mask = interrupts.hold()
    runtime = os.getpid()
    child = os.fork()
    if child == 0:
        # If the parent dies, the kernel sends the child SIGTERM, which it treats as ^C. Not SIGINT, because a shell
        # starts background jobs with SIGINT ignored, and the child would inherit that.
        interrupts.interrupt_once(_signal.SIGTERM)
        end_with(runtime, _signal.SIGTERM)
        interrupts.release(mask)
        os.close(ours)
        return Monitor(None, theirs)
    _pass_on(child, mask)
    os.close(theirs)
    if os.read(ours, 1):
        return Monitor(0, -1)
    return Monitor(exit_code(os.waitpid(child, 0)[1]), -1)


def _pass_on(child: int, mask: "set[int]") -> None:
    """Let the signals that would end us end the child, and not this process before it; restore `mask`.

    Our caller would otherwise believe that there is no container, while the child has just become the monitor of one.
    """

    def pass_on(number: int, frame: object) -> None:
        try:
            os.kill(child, number)
        except ProcessLookupError:
            pass  # it has ended, and we are about to do the same

    for number in interrupts.ENDING:
        if _signal.getsignal(number) != _signal.SIG_IGN:
            _signal.signal(number, pass_on)
    interrupts.release(mask)


def _table(init: int, kept: range) -> Table:
    table = Table(report=-1, inherited=(_RECORD, _RUNTIME, _STDERR, *kept))  # no process is left to read a report
    record = table.block(PIDFD_INFO_EXIT.to_bytes(WORD, "little").ljust(SIZE, b"\0"))
    table.call("prctl", PR_SET_NAME, table.string(_NAME))
    table.close(_STDERR)
    table.call("write", _RUNTIME, table.string(b"1"), 1)
    table.close(_RUNTIME)
    all_but_sigterm = table.words(~(1 << _signal.SIGTERM - 1))
    table.call("rt_sigprocmask", _signal.SIG_SETMASK, all_but_sigterm, 0, WORD)
    table.call("wait4", init, Address(record + STATUS_OFFSET), _WALL, 0)
    table.call("clock_gettime", _CLOCK_REALTIME, Address(record + TIME_OFFSET))
    table.call("write", _RECORD, record, SIZE)
    if kept:
        table.call("write", _ENGINE, table.string(b"1"), 1)
        table.call("read", _ENGINE, table.words(0), 1)
    table.call("exit_group", 0)
    return table
