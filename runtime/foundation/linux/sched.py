"""<sched.h> and <linux/sched.h>: processes and namespaces."""

from foundation.linux.libc import c_char_p, c_int, c_size_t, declare, declare_syscall
from foundation.linux.syscalls import words

CLONE_NEWTIME = 0x00000080
CLONE_FS = 0x00000200
CLONE_FILES = 0x00000400
CLONE_NEWNS = 0x00020000
CLONE_PARENT = 0x00008000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

CLONE_ARGS_SIZE = 11 * 8
SIGCHLD = 17


_clone3 = declare_syscall("clone3", c_char_p, c_size_t)
_setns = declare("setns", c_int, c_int)
_unshare = declare("unshare", c_int)


def clone(flags: int, cgroup: int = -1) -> int:
    """Fork as fork(2) does, into new namespaces and the cgroup v2 directory `cgroup`; return 0 in the child.

    clone3 without CLONE_VM and without a stack returns in the child as fork does. Python's bookkeeping after a fork,
    which is about threads and locks, is skipped: we have one thread. Errors are those of unshare(), and EBUSY,
    EOPNOTSUPP or ENOENT for a cgroup that accepts no process.
    """
    # With CLONE_PARENT the child uses the exit signal of this process, and the field must be 0 (clone(2), EINVAL).
    exit_signal = 0 if flags & CLONE_PARENT else SIGCHLD
    if cgroup >= 0:
        flags |= CLONE_INTO_CGROUP
    return _clone3(words(*clone_args(flags, exit_signal, max(cgroup, 0))), CLONE_ARGS_SIZE)


def clone_args(flags: int, exit_signal: int, cgroup: int) -> "tuple[int, ...]":
    """Return the words of struct clone_args, clone(2), for a child that goes on where its parent does."""
    pidfd = child_tid = parent_tid = stack = stack_size = tls = set_tid = set_tid_size = 0
    return flags, pidfd, child_tid, parent_tid, exit_signal, stack, stack_size, tls, set_tid, set_tid_size, cgroup


def setns(fd: int, types: int) -> None:
    """Enter the namespace that `fd` is open on, which must be of one of `types` (CLONE_NEW*).

    If `fd` is a pidfd, enter the namespaces of these types that the process is in (Linux 5.8). A pid namespace is
    entered only by later children. EPERM without CAP_SYS_ADMIN in the user namespace that owns it; EINVAL for one's own
    user namespace.
    """
    _setns(fd, types)


def unshare(flags: int) -> None:
    """Make the namespaces `flags` (CLONE_NEW*) and enter them; only later children enter a pid or time namespace.

    EPERM without CAP_SYS_ADMIN, unless CLONE_NEWUSER is among them; ENOSPC beyond user.max_*_namespaces.
    """
    _unshare(flags)
