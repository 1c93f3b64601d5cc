"""The init of `--init`: pid 1, with the program as its child. Passes on signals, collects orphans, exits as that does.

It is a last mile of its own, in a second memfd. The first one executes it in place of the program, with the program's
ids, capabilities and system call filter: so the filter must allow what an init does, which the first rows find out.
"""

from pyrun.errors import Error
from pyrun.launch import elf, last_mile
from pyrun.launch.table import Table
from pyrun.linux.mount import AT_EMPTY_PATH
from pyrun.linux.prctl import PR_SET_CHILD_SUBREAPER, PR_SET_NAME

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.program import Program

_F_SETFD, _FD_CLOEXEC = 2, 1
_TIOCSPGRP = 0x5410
_SIG_SETMASK, _SIGSET_SIZE = 2, 8
_SIGCHLD = 17
_WNOHANG = 1
_CLONE_CHILD_SETTID = 0x01000000
_EPERM, _EBADF, _ECHILD, _EAGAIN = 1, 9, 10, 11


def prepare() -> int:
    """Return the memfd that the init will be executed from. Raises Error where that cannot be."""
    memfd = last_mile.open_program()
    if memfd < 0:
        raise Error("--init: its program cannot be executed here: this machine is another, or vm.memfd_noexec is 2")
    return memfd


def execute(table: Table, program: "Program", terminal: bool) -> None:
    """Append the rows that execute the init, which is at the descriptor `program.init`.

    The report descriptor of `table` must not have close-on-exec: failures are told there by the init, too.
    """
    elf.fill(program.init, rows(table.report, program, terminal))
    # For an init that is not pid 1, in a joined pid namespace.
    table.call("prctl", PR_SET_CHILD_SUBREAPER, 1, label="prctl PR_SET_CHILD_SUBREAPER")
    arguments, environment = table.strings([b"pyrun", b"init"]), table.strings([])
    empty = table.string(b"")
    table.call("execveat", program.init, empty, arguments, environment, AT_EMPTY_PATH, label="exec init")


def rows(report: int, program: "Program", terminal: bool) -> Table:
    table = Table(report)
    table.call("close", program.init)
    table.call("fcntl", report, _F_SETFD, _FD_CLOEXEC, label="fcntl FD_CLOEXEC")
    table.call("prctl", PR_SET_NAME, table.string(b"pyrun:[reaper]"), excused=_EPERM)
    every, none = table.block(b"\xff" * _SIGSET_SIZE), table.block(bytes(_SIGSET_SIZE))
    table.call("rt_sigprocmask", _SIG_SETMASK, every, 0, _SIGSET_SIZE, label="init: block signals")
    pid, status = table.words(0), table.words(0)
    _try(table)
    # Where aarch64 has the thread-local storage x86_64 has the child's place, and the other way round, clone(2).
    parting = table.call("clone", _CLONE_CHILD_SETTID | _SIGCHLD, 0, 0, pid, pid, label="init: clone")

    # A process group of its own, lest what the terminal signals comes twice; SIGTTOU is blocked (tcsetpgrp(3)).
    table.call("setpgid", 0, 0)
    if terminal:
        table.call("ioctl", 0, _TIOCSPGRP, pid, label="ioctl TIOCSPGRP")
    table.call("rt_sigprocmask", _SIG_SETMASK, none, 0, _SIGSET_SIZE)
    program.execute(table)

    parting.jump_to = len(table.rows)
    for fd in range(report + 1):
        table.call("close", fd, excused=_EBADF)
    table.call("reap", every, status)
    return table


def _try(table: Table) -> None:
    """Append calls as `reap` makes them, without effect: what a filter forbids must be told now, while one can."""
    none, at_once, status = table.words(0), table.words(0, 0), table.words(0)
    table.call("rt_sigtimedwait", none, 0, at_once, _SIGSET_SIZE, label="init: wait for signals", excused=_EAGAIN)
    table.call("kill", 0, 0, label="init: pass on signals")
    table.call("wait4", -1, status, _WNOHANG, 0, label="init: collect orphans", excused=_ECHILD)
