"""<linux/openat2.h>: open a path without leaving a directory (Linux 5.6)."""

from foundation.linux import os
from foundation.linux.libc import c_char_p, c_int, c_size_t, declare_syscall
from foundation.linux.syscalls import words

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_IN_ROOT = 0x10
AT_FDCWD = -100  # <fcntl.h>
HOW_SIZE = 3 * 8

_openat2 = declare_syscall("openat2", c_int, c_char_p, c_char_p, c_size_t, blame=1)


def openat2(dirfd: int, path: bytes, flags: int, resolve: int, mode: int = 0) -> int:
    """Open `path` below `dirfd` with O_* `flags`, as RESOLVE_* allow; always close-on-exec, and the caller closes it.

    EXDEV: the path leaves the directory; ELOOP: it contains a symlink that is not allowed. The kernel may return EAGAIN
    if a file is renamed or mounted anywhere on the system meanwhile; then the call is repeated.
    """
    how = words(flags | os.O_CLOEXEC, mode, resolve)  # struct open_how
    for _ in range(128):
        try:
            return _openat2(dirfd, path, how, HOW_SIZE)
        except BlockingIOError:
            continue
    return _openat2(dirfd, path, how, HOW_SIZE)
