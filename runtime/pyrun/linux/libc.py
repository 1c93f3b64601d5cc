"""The C library, with errno turned into OSError. The only module that knows ctypes."""

# The C part of ctypes alone: the package around it costs 1 ms, for types that we do not need.
import _ctypes
import os

from pyrun.linux.syscalls import number

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from ctypes import Structure as Structure
    from ctypes import addressof as addressof
    from ctypes import byref as byref
    from ctypes import c_char as c_char
    from ctypes import c_char_p as c_char_p
    from ctypes import c_int as c_int
    from ctypes import c_long as c_long
    from ctypes import c_size_t as c_size_t
    from ctypes import c_uint as c_uint
    from ctypes import c_uint32 as c_uint32
    from ctypes import c_uint64 as c_uint64
    from ctypes import c_ulong as c_ulong
    from ctypes import c_void_p as c_void_p
    from ctypes import sizeof as sizeof
    from typing import Any

    _Function: Any
else:
    # The C part of ctypes alone: the package around it costs 1 ms, for types that we do not need. These are its own.
    Structure, addressof, byref, sizeof = _ctypes.Structure, _ctypes.addressof, _ctypes.byref, _ctypes.sizeof

    def _simple(name, code):
        return type(_ctypes._SimpleCData)(name, (_ctypes._SimpleCData,), {"_type_": code})

    c_char, c_char_p, c_void_p = _simple("c_char", "c"), _simple("c_char_p", "z"), _simple("c_void_p", "P")
    c_int, c_uint = _simple("c_int", "i"), _simple("c_uint", "I")
    c_long, c_ulong = _simple("c_long", "l"), _simple("c_ulong", "L")
    c_uint32, c_uint64, c_size_t = c_uint, c_ulong, c_ulong  # on the machines that we run on (LP64)

    class _Function(_ctypes.CFuncPtr):
        # PYTHONAPI keeps the GIL: nothing here has a second thread, and a call that forks must not give it up.
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = c_int


class _Library:
    # None is the libc we already run on: ctypes.util.find_library() would take 10 ms and run ldconfig.
    _handle = _ctypes.dlopen(None, 0)  # type: ignore[arg-type]


def declare(name: str, *argtypes: "type", blame: "int | None" = None) -> "Callable[..., int]":
    """Return the libc function `name`, made to raise OSError where C returns -1.

    `blame` is the index of the argument that the error shall name, as `open` names its file.
    """
    function = _Function((name, _Library))
    function.argtypes = argtypes
    function.errcheck = _error_check(blame)
    return function  # type: ignore[no-any-return]


def declare_syscall(name: str, *argtypes: "type", blame: "int | None" = None) -> "Callable[..., int]":
    """The same for a system call that glibc does not wrap, or not in every version that we run with."""
    function = _Function(("syscall", _Library))
    function.argtypes = (c_long, *argtypes)
    function.restype = c_long
    function.errcheck = _error_check(None if blame is None else blame + 1)
    code = number(name)

    def call(*arguments: object) -> int:
        return function(code, *arguments)  # type: ignore[no-any-return]

    return call


def _error_check(blame: "int | None") -> "Any":
    def check(result: int, function: object, arguments: "tuple[Any, ...]") -> int:
        if result == -1:
            errno = _ctypes.get_errno()
            filename = None if blame is None else arguments[blame]
            raise OSError(errno, os.strerror(errno), filename)
        return result

    return check


def raw_syscall(code: int, arguments: "list[int]") -> "tuple[int, int]":
    """Make the system call with the number `code`; return (result, errno), errno 0 on success."""
    _ctypes.set_errno(0)
    result = _raw(code, *arguments)
    return result, _ctypes.get_errno() if result == -1 else 0


_raw = _Function(("syscall", _Library))
_raw.argtypes = (c_long, *[c_ulong] * 6)
_raw.restype = c_long


def buffer(content: bytes) -> "Any":
    """Return a C array that holds `content`: addressof() tells where, .raw what is in it."""
    array = (c_char * len(content))()
    array.raw = content
    return array
