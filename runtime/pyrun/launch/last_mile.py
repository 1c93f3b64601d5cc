"""The last mile of a container's init and of a process that joins one: the rows, in order, and who carries them out."""

from pyrun.confine.affinity import ALL_CPUS, bit_mask
from pyrun.container.state import WAITING
from pyrun.launch import elf, process
from pyrun.launch.table import Row, Table
from pyrun.linux.mount import AT_EMPTY_PATH, OPEN_TREE_CLONE, open_tree
from pyrun.linux.prctl import PR_SET_NAME
from pyrun.linux.sched import CLONE_INTO_CGROUP, CLONE_NEWCGROUP, CLONE_PARENT
from pyrun.linux.syscalls import MACHINE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

    from pyrun.launch.process import Confinement
    from pyrun.launch.program import Program
    from pyrun.spec.config import Process

SOCK_CLOEXEC = 0o2000000
F_SETFD, FD_CLOEXEC = 2, 1


class Entry:
    """How the process gets where it belongs.

    by_child      it is made by the last mile's first row, a child of this process that is its sibling (CLONE_PARENT):
                  in the namespaces that only children enter
    into          the cgroup v2 directory that this child is born in, or -1
    joins         files of the hierarchies that it still has to join (Cgroup.open_files)
    new_cgroup    whether it then makes a cgroup namespace
    cgroup        the cgroup namespace that it then joins, or -1
    excused       the errno of a join that need not succeed, or 0
    """

    def __init__(
        self, by_child: bool, into: int, joins: "list[int]", new_cgroup: bool, cgroup: int, excused: int = 0
    ) -> None:
        self.by_child = by_child
        self.into = into if by_child else -1
        self.joins = joins
        self.new_cgroup = new_cgroup
        self.cgroup = cgroup
        self.excused = excused

    def descriptors(self) -> "list[int]":
        return [fd for fd in (self.into, *self.joins, self.cgroup) if fd >= 0]

    def at(self, descriptors: "list[int]") -> "Entry":
        """Return the same with the descriptors at the numbers that they have in the last mile."""
        numbers = list(descriptors)
        into = numbers.pop(0) if self.into >= 0 else -1
        cgroup = numbers.pop() if self.cgroup >= 0 else -1
        return Entry(self.by_child, into, numbers, self.new_cgroup, cgroup, self.excused)


def detach(directory: int) -> int:
    """Return `directory` (or -1) as one from which ".." leads nowhere, where we may make such a one.

    The child of the first row has it when peers can already see that child, and with CAP_SYS_PTRACE its descriptors
    (CVE-2024-21626 shows what one is good for).
    """
    try:
        return open_tree(b"", AT_EMPTY_PATH | OPEN_TREE_CLONE, dirfd=directory) if directory >= 0 else -1
    except PermissionError:
        return directory  # without root there is no such mount; nor do our peers have CAP_SYS_PTRACE over us


def prepare() -> int:
    """Return the memfd that the last mile will be executed from, or -1 where Python itself must carry it out.

    Then this process has first been replaced by one whose interpreter is a copy that nothing can write to: see
    executor.py.
    """
    memfd = open_program()
    if memfd < 0:
        from pyrun.launch import executor  # needed on few machines

        executor.leave_host_interpreter()
    return memfd


def open_program() -> int:
    """Return the memfd that the last mile will be executed from, or -1 where Python itself must carry it out."""
    if MACHINE in elf.CODE:
        try:
            return elf.open_memfd("pyrun")
        except PermissionError:
            pass  # the sysctl vm.memfd_noexec is 2: no memfd can be executed
    return -1


def create(
    report: int,
    gate: int,
    entry: Entry,
    process_: "Process",
    program: "Program",
    confinement: "Confinement",
    keyring: "str | None",
) -> Table:
    """Return the rows of a container's init, up to the gate and from there to its program."""
    table = Table(report)
    parting = _enter(table, entry)
    # Ours must not become the container's; and since Linux 6.2 joining a cpuset does not widen what was once set.
    process.affinity(table, ALL_CPUS)
    if confinement.labels:
        confinement.labels.place(table, free=report + 2 + len(confinement.descriptors()))
    process.session(table, process_, keyring)
    process.privileges(table, process_, confinement)
    table.call("prctl", PR_SET_NAME, table.string(WAITING.encode()), label="prctl PR_SET_NAME")
    table.call("write", report, table.string(b"ready"), len(b"ready"), label="report to the runtime")
    table.call("close", report)
    # The lowest free number is that of `report` again: the gate's connection is where failures are told from here on.
    table.call("accept4", gate, 0, 0, SOCK_CLOEXEC if program.init < 0 else 0, label="wait for start")
    table.call("close", gate)
    process.execute(table, process_, program, confinement.filter)
    _part(table, parting)
    return table


def join(
    report: int,
    entry: Entry,
    process_: "Process",
    program: "Program",
    confinement: "Confinement",
) -> Table:
    """Return the rows of a process that joins a container."""
    table = Table(report)
    # config.md#process: "initial" holds until the process is in the container's cgroup, "final" from there on.
    wanted = process_.exec_cpu_affinity
    initial, final = (wanted.initial, wanted.final) if wanted else ("", "")
    if initial:
        process.affinity(table, bit_mask(initial))
    parting = _enter(table, entry)
    if final or not initial:
        process.affinity(table, bit_mask(final) if final else ALL_CPUS)
    if confinement.labels:
        confinement.labels.place(table, free=report + 1 + len(confinement.descriptors()))
    process.session(table, process_, keyring=None)
    process.privileges(table, process_, confinement)
    table.call("write", report, table.string(b"joined"), len(b"joined"), label="report to the runtime")
    table.call("fcntl", report, F_SETFD, FD_CLOEXEC, label="fcntl FD_CLOEXEC")
    process.execute(table, process_, program, confinement.filter)
    _part(table, parting)
    return table


def _enter(table: Table, entry: Entry) -> "Row | None":
    parting = None
    if entry.by_child:
        flags = CLONE_PARENT | (CLONE_INTO_CGROUP if entry.into >= 0 else 0)
        cgroup = max(entry.into, 0)
        # struct clone_args, clone(2): flags, pidfd, child_tid, parent_tid, exit_signal, stack, its size, tls,
        # set_tid, its size, cgroup. With CLONE_PARENT the signal must be 0: it is that of the process that clones.
        arguments = table.words(flags, 0, 0, 0, 0, 0, 0, 0, 0, 0, cgroup)
        parting = table.call("clone3", arguments, 11 * 8, label="clone into the container")
        if entry.into >= 0:
            table.call("close", entry.into)
    for fd in entry.joins:
        table.call("write", fd, table.string(b"0"), 1, label="join cgroup", excused=entry.excused)
        table.call("close", fd)
    if entry.new_cgroup:
        table.call("unshare", CLONE_NEWCGROUP, label="unshare cgroup namespace")
    if entry.cgroup >= 0:
        table.call("setns", entry.cgroup, CLONE_NEWCGROUP, label="setns cgroup namespace")
        table.call("close", entry.cgroup)
    return parting


def _part(table: Table, parting: "Row | None") -> None:
    """Let the parent of _enter()'s child end here."""
    if parting:
        parting.jump_to = len(table.rows)
        table.call("exit_group", 0)


def carry_out(memfd: int, table: Table, arguments: "tuple[bytes, ...]" = (b"init",)) -> "NoReturn":
    """Become the last mile. Does not return."""
    if memfd >= 0:
        elf.execute(memfd, table, arguments)
    from pyrun.launch import executor  # imported by prepare() already: nothing can be imported here

    executor.carry_out(table)
