"""The memfd that holds the stub: how it is made, and how this process, or a child of it, becomes the stub."""

import _signal
from errno import EACCES, ENOSYS, EPERM

from foundation.linux import os
from foundation.linux.opened import close_all_on_exec
from foundation.linux.syscalls import MACHINE
from foundation.linux.unistd import CLOSE_RANGE_CLOEXEC, close_range
from foundation.linux.whole_file import write_all
from pyrun.stub import departure, elf
from pyrun.stub.report import report
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_EXECUTE = "execute the stub"


def prepare() -> int:
    """Return the memfd that the stub will be executed from, or -1 if Python itself must carry out the table.

    Before it returns -1, this process is replaced by one that runs a write-protected copy of the interpreter
    (interpreter.py): must be called before anything is made that a restart would lose. The caller closes the memfd.
    """
    memfd = open_program()
    if memfd < 0:
        from pyrun.stub import interpreter  # needed on few machines

        interpreter.leave_host_interpreter()
    return memfd


def open_program() -> int:
    """Return the memfd that the stub will be executed from, or -1 if Python itself must carry out the table.

    The caller closes it.
    """
    if MACHINE in elf.CODE:
        try:
            return elf.open_memfd("pyrun")
        except OSError as error:
            # No memfd can be executed because the sysctl vm.memfd_noexec is 2 (Linux 6.3), or a seccomp filter forbids
            # memfd_create(2).
            if error.errno not in (EACCES, EPERM, ENOSYS):
                raise
    return -1


def carry_out(
    memfd: int, table: Table, arguments: "tuple[bytes, ...]" = (b"init",), streams: "list[int] | None" = None
) -> "NoReturn":
    """Become the stub. Does not return; if execve(2) fails, reports that as a failed row of the table would be.

    `streams` become its descriptors 0, 1 and 2. It gets no others but those of the table.
    """
    for number, fd in enumerate(streams or []):
        os.dup2(fd, number)
    # If execve(2) fails, this process still has its descriptors.
    _close_others({*table.inherited, memfd}, CLOSE_RANGE_CLOEXEC if memfd >= 0 else 0)
    _make_inheritable(table)
    if memfd >= 0:
        try:
            elf.execute(memfd, table, arguments)
        except OSError as error:
            _report(table, error)
            raise
    from pyrun.stub import interpreter  # already loaded by prepare(): imports are sealed by now

    interpreter.carry_out(table)


def spawn(memfd: int, table: Table, streams: "list[int]") -> int:
    """Start a child that is the stub, and return its pid. Raises OSError.

    `streams` become its descriptors 0, 1 and 2. It gets no others but those of the table. No signal is ignored or
    blocked, whatever our caller does.
    """
    if memfd < 0:
        return _fork(table, streams)
    elf.fill(memfd, table)
    close_all_on_exec()
    _make_inheritable(table)
    try:
        return os.posix_spawn(
            f"/proc/self/fd/{memfd}",
            [b"pyrun", b"init"],
            {},
            file_actions=[(os.POSIX_SPAWN_DUP2, fd, number) for number, fd in enumerate(streams)],
            setsigmask=(),
            setsigdef=_signal.valid_signals(),
        )
    except OSError as error:
        error.filename = _EXECUTE
        raise


def _fork(table: Table, streams: "list[int]") -> int:
    """The same with Python in place of the stub."""
    child = os.fork()
    if child:
        return child
    try:
        departure.reset_signals()
        departure.seal_imports()  # the rows lead into the container, where an import would run its code
        carry_out(-1, table, streams=streams)
    except OSError as error:
        _report(table, error)
    finally:
        os._exit(1)


def _report(table: Table, error: OSError) -> None:
    if table.report > 2:  # otherwise it is our own standard error, where the exception is shown
        write_all(table.report, report(error.errno or 0, _EXECUTE))


def _close_others(kept: "set[int]", flags: int) -> None:
    """Close all descriptors but the standard streams and `kept`, which may contain -1; `flags` are close_range(2)'s."""
    first = 3
    for fd in sorted(kept):
        if fd > first:
            close_range(first, fd - 1, flags)
        first = max(first, fd + 1)
    close_range(first, flags=flags)


def _make_inheritable(table: Table) -> None:
    for fd in table.inherited:
        if fd > 2:
            os.set_inheritable(fd, True)
