"""The system calls that Python 3.9 does not have, with errno turned into OSError. The only user of libc."""

import ctypes
import os

MS_RDONLY = 1 << 0
MS_NODEV = 1 << 2
MS_REC = 1 << 14
MS_PRIVATE = 1 << 18
MNT_DETACH = 1 << 1

CLONE_FS = 0x00000200
CLONE_NEWNS = 0x00020000
CLONE_NEWUSER = 0x10000000

PR_SET_PDEATHSIG = 1

# CDLL(None) is the libc we already run on: ctypes.util.find_library() would take 10 ms and run ldconfig.
_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (ctypes.c_char_p, ctypes.c_char_p, ctypes.c_char_p, ctypes.c_ulong, ctypes.c_char_p)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.unshare.argtypes = (ctypes.c_int,)
_libc.prctl.argtypes = (ctypes.c_int, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong, ctypes.c_ulong)


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    arguments = [os.fsencode(argument) for argument in (source, target, fstype)]
    _check(_libc.mount(*arguments, flags, os.fsencode(data)), target)


def umount(target: str) -> None:
    """Detach the mount, also while a container still uses it: its own copy of the mount stays."""
    _check(_libc.umount2(os.fsencode(target), MNT_DETACH), target)


def unshare(flags: int) -> None:
    _check(_libc.unshare(flags))


def die_with_parent(signal: int) -> None:
    _check(_libc.prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0))


def _check(result: int, name: "str | None" = None) -> None:
    if result == -1:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
