"""pidfd_getfd(2): another process's descriptors."""

from foundation.linux.libc import c_int, c_uint, declare_syscall

_pidfd_getfd = declare_syscall("pidfd_getfd", c_int, c_int, c_uint)


def pidfd_getfd(pidfd: int, number: int) -> int:
    """Return a duplicate of the descriptor `number` of a process (Linux 5.6).

    It is close-on-exec. EPERM without the right to ptrace(2) the process; ESRCH if it has ended.
    """
    return _pidfd_getfd(pidfd, number, 0)
