"""The procfs of a joined pid namespace.

procfs shows the pid namespace that the caller of fsopen(2) is in (fs/proc/root.c), and Python stays outside of a joined
one, where peers could look at it. In there, or what it mounts is the host's procfs, must be the last mile: a process
whose only work is that one call.

      runtime                    joining process                    process in the pid namespace
      fork ────────────────────▶ join the pid namespace
                                 execute the last mile
                                 clone ───────────────────────────▶ fsopen, into descriptors that both share
                                 wait for its end                   exit
           ◀── "procfs" ──────── (with the descriptor)
"""

import os
from fcntl import F_DUPFD_CLOEXEC, fcntl

from pyrun.errors import reason
from pyrun.launch import last_mile
from pyrun.launch.channel import Channel
from pyrun.launch.departure import seal_imports
from pyrun.launch.namespaces import Namespaces, become_root
from pyrun.launch.table import Table
from pyrun.linux.mount import FSOPEN_CLOEXEC, MOUNT_ATTR_RDONLY
from pyrun.linux.prctl import PR_SET_DUMPABLE, prctl
from pyrun.linux.sched import CLONE_FILES, CLONE_NEWNS, CLONE_NEWPID, CLONE_NEWUSER, SIGCHLD, unshare
from pyrun.linux.unistd import close_range
from pyrun.rootfs.mounts import new_filesystem

_REPORT, _LAST_MILE = 3, 4
_OPENED = _LAST_MILE  # the lowest free number once the last mile's own file is closed by execve
_WORD = b"procfs"
_SOL_SOCKET, _SCM_RIGHTS = 1, 1


def open_context(namespaces: Namespaces) -> int:
    """Return the fs context (fsopen(2)) of a procfs for the pid namespace that `namespaces` joins."""
    memfd = last_mile.prepare()
    ours, theirs = Channel.pair()
    child = os.fork()
    if child == 0:
        _run_as_child(namespaces, theirs, memfd)
    theirs.close()
    if memfd >= 0:
        os.close(memfd)
    try:
        return ours.hear("procfs").descriptors[0]
    finally:
        ours.close()
        os.waitpid(child, 0)


def _run_as_child(namespaces: Namespaces, channel: Channel, memfd: int) -> None:
    """Become the last mile in the namespaces; report what prevents it, and never return to the parent's code."""
    try:
        prctl(PR_SET_DUMPABLE, 0)
        seal_imports()
        namespaces.join(CLONE_NEWPID | CLONE_NEWUSER)
        if namespaces.joins(CLONE_NEWUSER):
            become_root()  # or execve(2) would take the capabilities
            unshare(CLONE_NEWNS)  # fsopen(2) wants CAP_SYS_ADMIN over the mount namespace that one is in
        _leave_file_systems()
        high = [fcntl(fd, F_DUPFD_CLOEXEC, _LAST_MILE + 1) for fd in (channel.fileno(), memfd) if fd >= 0]
        os.dup2(high[0], _REPORT)
        if memfd >= 0:
            memfd = os.dup2(high[1], _LAST_MILE, inheritable=False)
        else:
            close_range(_LAST_MILE, _LAST_MILE)
        close_range(_LAST_MILE + 1)
        last_mile.carry_out(memfd, _table())
    except BaseException as error:
        channel.fail(reason(error))
    finally:
        os._exit(1)


def _leave_file_systems() -> None:
    """Have nothing for a root directory: a peer with CAP_SYS_PTRACE can follow /proc/PID/root, and from there ".."."""
    empty = new_filesystem("tmpfs", "tmpfs", MOUNT_ATTR_RDONLY, [], [])
    os.fchdir(empty)
    os.chroot(".")
    os.close(empty)


def _table() -> Table:
    table = Table(_REPORT)
    # struct clone_args, clone(2): flags, pidfd, child_tid, parent_tid, exit_signal, stack, its size, tls
    arguments = table.words(CLONE_FILES, 0, 0, 0, SIGCHLD, 0, 0, 0)
    parting = table.call("clone3", arguments, 8 * 8, label="clone into the pid namespace")
    table.call("fsopen", table.string(b"proc"), FSOPEN_CLOEXEC, label="fsopen proc")
    table.call("exit_group", 0)
    parting.jump_to = len(table.rows)
    table.call("wait4", -1, 0, 0, 0)
    table.call("sendmsg", _REPORT, _message(table), 0, label="report to the runtime")
    table.call("exit_group", 0)
    return table


def _message(table: Table) -> int:
    """Place a struct msghdr with the word and the descriptor (cmsg(3)), and return its address."""
    halves = [_SOL_SOCKET, _SCM_RIGHTS, _OPENED, 0]
    rights = table.block((20).to_bytes(8, "little") + b"".join(half.to_bytes(4, "little") for half in halves))
    vector = table.words(table.string(_WORD), len(_WORD))
    return table.words(0, 0, vector, 1, rights, 24, 0)
