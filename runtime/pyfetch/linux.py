"""The system calls that Python 3.9 does not have, with errno turned into OSError. The only user of libc."""

# The C part of ctypes alone: the package around it would take 2 of the 25 ms of a pull that finds all in the store.
import _ctypes
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


class _Integer(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "i"


class _Flags(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "L"


class _Text(_ctypes._SimpleCData):  # type: ignore[type-arg]
    _type_ = "z"


class _Function(_ctypes.CFuncPtr):
    _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
    _restype_ = _Integer


def _declare(name: str, *argtypes: type) -> _Function:
    # None is the libc that we already run on: ctypes.util.find_library() would take 10 ms and run ldconfig.
    function = _Function(_ctypes.dlsym(_ctypes.dlopen(None, 0), name))  # type: ignore[arg-type]
    function.argtypes = argtypes
    return function


_mount = _declare("mount", _Text, _Text, _Text, _Flags, _Text)
_umount2 = _declare("umount2", _Text, _Integer)
_unshare = _declare("unshare", _Integer)
_prctl = _declare("prctl", _Integer, _Flags, _Flags, _Flags, _Flags)


def mount(source: str, target: str, fstype: str, flags: int = 0, data: str = "") -> None:
    arguments = [os.fsencode(argument) for argument in (source, target, fstype)]
    _check(_mount(*arguments, flags, os.fsencode(data)), target)


def umount(target: str) -> None:
    """Detach the mount, also while a container still uses it: its own copy of the mount stays."""
    _check(_umount2(os.fsencode(target), MNT_DETACH), target)


def unshare(flags: int) -> None:
    _check(_unshare(flags))


def die_with_parent(signal: int) -> None:
    _check(_prctl(PR_SET_PDEATHSIG, signal, 0, 0, 0))


def _check(result: int, name: "str | None" = None) -> None:
    if result == -1:
        number = _ctypes.get_errno()
        raise OSError(number, os.strerror(number), name)
