"""The reaper of `--init`: pid 1, with the program as its child. It forwards signals, collects orphans, and exits with
the program's status.

The reaper is a second stub, in a memfd of its own. The first stub executes it in place of the program, with the
program's ids, capabilities and seccomp filter. So the filter must allow the calls of the reaper; its first rows check
that.
"""

from foundation.errors import Error
from foundation.linux.mount import AT_EMPTY_PATH
from foundation.linux.prctl import PR_SET_CHILD_SUBREAPER, PR_SET_NAME
from pyrun.stub import carrier, elf
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.stub.execve import Program

_F_SETFD, _FD_CLOEXEC = 2, 1
_TIOCSPGRP = 0x5410
_SIG_SETMASK, _SIGSET_SIZE = 2, 8
_SIGCHLD = 17
_WNOHANG = 1
_CLONE_CHILD_SETTID = 0x01000000
_EPERM, _EBADF, _ECHILD, _EAGAIN = 1, 9, 10, 11


def prepare() -> int:
    """Return the memfd that the reaper will be executed from; the caller closes it. Raises Error if there is none."""
    memfd = carrier.open_program()
    if memfd < 0:
        raise Error("--init: pyrun has no reaper for this machine type, or the sysctl vm.memfd_noexec is 2")
    return memfd


def execute(table: Table, program: "Program", terminal: bool) -> None:
    """Append the rows that execute the reaper, from the descriptor `program.reaper`.

    The report descriptor of `table` must not be close-on-exec: the reaper reports its failures there, too.
    """
    elf.fill(program.reaper, rows(table.report, program, terminal))
    # In a joined pid namespace the reaper is not pid 1, and gets orphans only as their subreaper.
    table.call("prctl", PR_SET_CHILD_SUBREAPER, 1, label="prctl PR_SET_CHILD_SUBREAPER")
    arguments, environment = table.strings([b"pyrun", b"init"]), table.strings([])
    empty = table.string(b"")
    table.call("execveat", program.reaper, empty, arguments, environment, AT_EMPTY_PATH, label="exec init")


def rows(report: int, program: "Program", terminal: bool) -> Table:
    """Return the table of the reaper: it forks, the child executes the program, and the parent waits.

    `terminal` says that descriptor 0 is the controlling terminal, whose foreground the program gets.
    """
    table = Table(report)
    table.call("close", program.reaper)
    table.call("fcntl", report, _F_SETFD, _FD_CLOEXEC, label="fcntl FD_CLOEXEC")
    table.call("prctl", PR_SET_NAME, table.string(b"pyrun:[reaper]"), excused=(_EPERM,))
    every, none = table.block(b"\xff" * _SIGSET_SIZE), table.block(bytes(_SIGSET_SIZE))
    table.call("rt_sigprocmask", _SIG_SETMASK, every, 0, _SIGSET_SIZE, label="init: block signals")
    pid, status = table.words(0), table.words(0)
    _try(table)
    # The last two arguments of clone(2), child_tid and tls, are swapped on aarch64: pass the same value for both.
    clone_row = table.call("clone", _CLONE_CHILD_SETTID | _SIGCHLD, 0, 0, pid, pid, label="init: clone")

    # The program gets a process group of its own: otherwise ^C would reach it twice, from the terminal and forwarded.
    # SIGTTOU is blocked, so TIOCSPGRP may be called from the background (tcsetpgrp(3)).
    table.call("setpgid", 0, 0)
    if terminal:
        table.call("ioctl", 0, _TIOCSPGRP, pid, label="ioctl TIOCSPGRP")
    table.call("rt_sigprocmask", _SIG_SETMASK, none, 0, _SIGSET_SIZE)
    program.execute(table)

    clone_row.jump_to = len(table.rows)
    for fd in range(report + 1):
        table.call("close", fd, excused=(_EBADF,))
    table.call("reap", every, status)
    return table


def _try(table: Table) -> None:
    """Append the system calls that `reap` makes, here without effect: a filter that forbids one is reported now, before
    the program starts."""
    none, at_once, status = table.words(0), table.words(0, 0), table.words(0)
    table.call("rt_sigtimedwait", none, 0, at_once, _SIGSET_SIZE, label="init: wait for signals", excused=(_EAGAIN,))
    table.call("kill", 0, 0, label="init: pass on signals")
    table.call("wait4", -1, status, _WNOHANG, 0, label="init: collect orphans", excused=(_ECHILD,))
