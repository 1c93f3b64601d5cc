"""pidfd_getfd(2): another process's descriptors."""

from pyrun.linux.libc import c_int, c_uint, declare_syscall

_pidfd_getfd = declare_syscall("pidfd_getfd", c_int, c_int, c_uint)


def pidfd_getfd(pidfd: int, number: int) -> int:
    """Return a duplicate, closed by execve, of the descriptor `number` of a process (Linux 5.6, CAP_SYS_PTRACE)."""
    return _pidfd_getfd(pidfd, number, 0)
