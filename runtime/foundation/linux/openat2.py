"""<linux/openat2.h>: open a path without leaving a directory (Linux 5.6)."""

from foundation.linux import os
from foundation.linux.libc import (
    Structure,
    byref,
    c_char_p,
    c_int,
    c_size_t,
    c_uint64,
    c_void_p,
    declare_syscall,
    sizeof,
)

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
AT_FDCWD = -100  # <fcntl.h>
HOW_SIZE = 3 * 8


class open_how(Structure):
    _fields_ = [("flags", c_uint64), ("mode", c_uint64), ("resolve", c_uint64)]


_openat2 = declare_syscall("openat2", c_int, c_char_p, c_void_p, c_size_t, blame=1)


def openat2(dirfd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open `path` below `dirfd` with O_* `flags`, as RESOLVE_* allow; always close-on-exec, and the caller closes it.

    EXDEV: the path leaves the directory; ELOOP: it contains a symlink that is not allowed. The kernel may return EAGAIN
    if a file is renamed or mounted anywhere on the system meanwhile; then the call is repeated.
    """
    how = open_how(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(128):
        try:
            return _openat2(dirfd, path, byref(how), sizeof(how))
        except BlockingIOError:
            continue
    return _openat2(dirfd, path, byref(how), sizeof(how))
