"""<unistd.h>: calls that Python's os lacks."""

from errno import ENOSYS, EPERM

from foundation.linux import os
from foundation.linux.libc import c_char_p, c_int, c_size_t, c_uint, declare, declare_syscall

_sethostname = declare("sethostname", c_char_p, c_size_t)
CLOSE_RANGE_CLOEXEC = 1 << 2

_setdomainname = declare("setdomainname", c_char_p, c_size_t)
_syncfs = declare("syncfs", c_int, waits=True)
_close_range = declare_syscall("close_range", c_uint, c_uint, c_uint)


def sethostname(name: bytes) -> None:
    """Set the host name of the UTS namespace: at most 64 bytes. EPERM without CAP_SYS_ADMIN in its user namespace."""
    _sethostname(name, len(name))


def setdomainname(name: bytes) -> None:
    """Set the NIS domain name of the UTS namespace; limits and errors are those of sethostname()."""
    _setdomainname(name, len(name))


def syncfs(fd: int) -> None:
    """Write all that is changed in the file system of `fd` to its disk; raise its errors since `fd` was opened."""
    _syncfs(fd)


def close_range(first: int, last: int = 0xFFFFFFFF, flags: int = 0) -> None:
    """Close all descriptors from `first` to `last`, in one call (Linux 5.9).

    With CLOSE_RANGE_CLOEXEC (5.11) execve(2) closes them; but if the call is forbidden, this function does so at once.
    """
    try:
        _close_range(first, last, flags)
    except OSError as error:
        if error.errno not in (ENOSYS, EPERM):
            raise
        # We are in a container whose seccomp filter is older than the call.
        os.closerange(first, min(last, os.sysconf("SC_OPEN_MAX")) + 1)
