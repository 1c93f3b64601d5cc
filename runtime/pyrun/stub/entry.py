"""How the process of a table becomes the one in the container: cloned into it, in its cgroups and cgroup namespace."""

from foundation.linux import os
from foundation.linux.mount import AT_EMPTY_PATH, OPEN_TREE_CLONE, open_tree
from foundation.linux.sched import CLONE_ARGS_SIZE, CLONE_INTO_CGROUP, CLONE_NEWCGROUP, CLONE_PARENT, clone_args
from pyrun.stub.table import Row, Table


class Entry:
    """How the process enters the namespaces that only a child can enter, the cgroups, and the cgroup namespace.

    by_child            the first row clones the process, as a sibling of the stub (CLONE_PARENT): only children enter
                        the pid and time namespaces that the stub has joined
    into                descriptor of the cgroup v2 directory that clone3 makes this child in, or -1
    joins               descriptors of the files of the cgroups that it still has to join (Cgroup.open_files)
    new_cgroup          whether it then makes a cgroup namespace
    cgroup_namespace    descriptor of the cgroup namespace that it then joins, or -1
    excused             the errnos to ignore if joining a cgroup fails
    """

    def __init__(
        self,
        by_child: bool,
        into: int,
        joins: "list[int]",
        new_cgroup: bool,
        cgroup: int,
        excused: "tuple[int, ...]" = (),
    ) -> None:
        self.by_child = by_child
        self.into = into if by_child else -1
        self.joins = joins
        self.new_cgroup = new_cgroup
        self.cgroup_namespace = cgroup
        self.excused = excused

    def descriptors(self) -> "list[int]":
        """Return the open descriptors that the stub needs; its rows close them."""
        return [fd for fd in (self.into, *self.joins, self.cgroup_namespace) if fd >= 0]


def detach(directory: int) -> int:
    """Replace `directory` (or -1) by a detached copy, from which ".." leads nowhere; keep it if we may not make one.

    The child that the first row clones holds this descriptor while the container's processes can already see the child:
    one with CAP_SYS_PTRACE could follow it to the host's cgroups (as in CVE-2024-21626).
    """
    if directory < 0:
        return -1
    try:
        copy = open_tree(b"", AT_EMPTY_PATH | OPEN_TREE_CLONE, dirfd=directory)
    except PermissionError:
        return directory  # without root we may not; but then the container has no CAP_SYS_PTRACE over us, either
    os.close(directory)
    return copy


def say(table: Table, word: bytes) -> None:
    """Append the row that sends `word` to the runtime, which hears it on its end of the channel."""
    table.call("write", table.report, table.string(word), len(word), label="report to the runtime")


def enter(table: Table, entry: Entry, word: bytes = b"") -> "Row | None":
    """Append the rows that carry out `entry`; return the row that clones, if there is one.

    The process sends `word` as soon as it has its final pid.
    """
    clone_row = None
    if entry.by_child:
        flags = CLONE_PARENT | (CLONE_INTO_CGROUP if entry.into >= 0 else 0)
        # With CLONE_PARENT exit_signal must be 0: the child has the caller's.
        arguments = table.words(*clone_args(flags, 0, max(entry.into, 0)))
        clone_row = table.call("clone3", arguments, CLONE_ARGS_SIZE, label="clone into the container")
        if entry.into >= 0:
            table.close(entry.into)
    if word:
        say(table, word)
    for fd in entry.joins:
        table.call("write", fd, table.string(b"0"), 1, label="join cgroup", excused=entry.excused)
        table.close(fd)
    if entry.new_cgroup:
        table.call("unshare", CLONE_NEWCGROUP, label="unshare cgroup namespace")
    if entry.cgroup_namespace >= 0:
        table.call("setns", entry.cgroup_namespace, CLONE_NEWCGROUP, label="setns cgroup namespace")
        table.close(entry.cgroup_namespace)
    return clone_row


def end_parent(table: Table, clone_row: "Row | None") -> None:
    """Append the row at which the parent exits after it has cloned the process."""
    if clone_row:
        clone_row.jump_to = len(table.rows)
        table.call("exit_group", 0)
