"""The procfs of a joined pid namespace.

A procfs shows the pid namespace of the process that calls fsopen(2) (fs/proc/root.c). So the call must be made inside
the namespace. Python must not be seen there, so the stub makes the call.

      runtime                    child                              grandchild, in the pid namespace
      fork ────────────────────▶ join the pid namespace
                                 execute the stub
                                 clone ───────────────────────────▶ fsopen; both share one table of descriptors
                                 wait for its end                   exit
           ◀── "procfs" ──────── (with the descriptor)
"""

from foundation.linux import os
from foundation.linux.mount import FSOPEN_CLOEXEC, MOUNT_ATTR_RDONLY
from foundation.linux.prctl import PR_SET_DUMPABLE, prctl
from foundation.linux.sched import (
    CLONE_ARGS_SIZE,
    CLONE_FILES,
    CLONE_NEWNS,
    CLONE_NEWPID,
    CLONE_NEWUSER,
    SIGCHLD,
    clone_args,
    unshare,
)
from pyrun.namespaces.namespaces import Namespaces, become_root
from pyrun.rootfs.mounts import new_filesystem
from pyrun.stub import carrier
from pyrun.stub.channel import Channel
from pyrun.stub.child import Child
from pyrun.stub.departure import seal_imports
from pyrun.stub.table import Table

_WORD = b"procfs"
_SOL_SOCKET, _SCM_RIGHTS = 1, 1


def open_context(namespaces: Namespaces) -> int:
    """Return the fs context (fsopen(2)) of a procfs for the pid namespace that `namespaces` joins.

    The caller closes it. Raises Error or OSError.
    """
    memfd = carrier.prepare()
    with Child(lambda channel: _become_stub(namespaces, channel, memfd)) as channel:
        if memfd >= 0:
            os.close(memfd)
        return channel.hear("procfs").descriptors[0]


def _become_stub(namespaces: Namespaces, channel: Channel, memfd: int) -> None:
    """Join the namespaces, and become the stub that makes the call in them. Never returns."""
    prctl(PR_SET_DUMPABLE, 0)
    seal_imports()
    namespaces.join(CLONE_NEWPID | CLONE_NEWUSER)
    if namespaces.joins(CLONE_NEWUSER):
        become_root()  # otherwise execve(2) would remove the capabilities
        unshare(CLONE_NEWNS)  # fsopen(2) requires CAP_SYS_ADMIN in the user namespace that owns our mount namespace
    _leave_file_systems()
    carrier.carry_out(memfd, _table(channel.fileno()))


def _leave_file_systems() -> None:
    """Make an empty tmpfs our root directory: a process with CAP_SYS_PTRACE in the pid namespace can open
    /proc/PID/root, and would get the host's."""
    empty = new_filesystem("tmpfs", "tmpfs", MOUNT_ATTR_RDONLY, [], [])
    os.fchdir(empty)
    os.chroot(".")
    os.close(empty)


def _table(report: int) -> Table:
    table = Table(report, inherited=(0, 1, 2))
    arguments = table.words(*clone_args(CLONE_FILES, SIGCHLD, 0))
    clone_row = table.call("clone3", arguments, CLONE_ARGS_SIZE, label="clone into the pid namespace")
    context = table.open("fsopen", table.string(b"proc"), FSOPEN_CLOEXEC, label="fsopen proc")
    table.call("exit_group", 0)
    clone_row.jump_to = len(table.rows)
    table.call("wait4", -1, 0, 0, 0)
    table.call("sendmsg", report, _message(table, context), 0, label="report to the runtime")
    table.call("exit_group", 0)
    return table


def _message(table: Table, descriptor: int) -> int:
    """Place a struct msghdr that sends the word and the `descriptor` (cmsg(3)), and return its address."""
    halves = [_SOL_SOCKET, _SCM_RIGHTS, descriptor, 0]
    rights = table.block((20).to_bytes(8, "little") + b"".join(half.to_bytes(4, "little") for half in halves))
    vector = table.words(table.string(_WORD), len(_WORD))
    return table.words(0, 0, vector, 1, rights, 24, 0)
