"""The C library, with errno turned into OSError. No other module imports ctypes."""

# Only the C part of ctypes: the package around it costs 1 ms, for types that we do not need.
import _ctypes

from foundation.linux import os
from foundation.linux.syscalls import number

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
    _Waiting: Any
else:
    Structure, addressof, byref, sizeof = _ctypes.Structure, _ctypes.addressof, _ctypes.byref, _ctypes.sizeof

    def _simple(name, code):
        return type(_ctypes._SimpleCData)(name, (_ctypes._SimpleCData,), {"_type_": code})

    c_char, c_char_p, c_void_p = _simple("c_char", "c"), _simple("c_char_p", "z"), _simple("c_void_p", "P")
    c_int, c_uint = _simple("c_int", "i"), _simple("c_uint", "I")
    c_long, c_ulong = _simple("c_long", "l"), _simple("c_ulong", "L")
    c_uint32, c_uint64, c_size_t = c_uint, c_ulong, c_ulong  # all our machines are LP64

    class _Function(_ctypes.CFuncPtr):
        # PYTHONAPI keeps the GIL, since a call that forks must not release it.
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_PYTHONAPI | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = c_int

    class _Waiting(_ctypes.CFuncPtr):
        _flags_ = _ctypes.FUNCFLAG_CDECL | _ctypes.FUNCFLAG_USE_ERRNO
        _restype_ = c_int


class _Library:
    def __init__(self, name: "str | None") -> None:
        self._handle = _ctypes.dlopen(name, 0)  # type: ignore[arg-type]


# None means the libc that is already loaded: ctypes.util.find_library() would take 10 ms and run ldconfig.
_LIBC = _Library(None)


def declare(name: str, *argtypes: "type", blame: "int | None" = None, waits: bool = False) -> "Callable[..., int]":
    """Return the libc function `name`, made to raise OSError if it returns -1.

    The error's filename is the name of the call, so that it says what failed; if `blame` is the index of an argument
    that is a path, the path follows, as in "open_tree /a/b". If it `waits`, other threads run meanwhile.
    """
    function = (_Waiting if waits else _Function)((name, _LIBC))
    function.argtypes = argtypes
    function.errcheck = _error_check(name, blame)
    return function  # type: ignore[no-any-return]


def declare_syscall(name: str, *argtypes: "type", blame: "int | None" = None) -> "Callable[..., int]":
    """The same for a system call that glibc does not wrap, or not in every version that we run with."""
    function = _Function(("syscall", _LIBC))
    function.argtypes = (c_long, *argtypes)
    function.restype = c_long
    function.errcheck = _error_check(name, None if blame is None else blame + 1)
    code = number(name)

    def call(*arguments: object) -> int:
        return function(code, *arguments)  # type: ignore[no-any-return]

    return call


def library(name: str) -> "Callable[..., Any]":
    """Load the shared library `name`; return what makes its functions, of a name, the type of the result, and argtypes.

    Other threads run during their calls. Raises OSError if there is no such library.
    """
    loaded = _Library(name)

    def function(name: str, result: "type", *argtypes: "type") -> "Any":
        found = _Waiting((name, loaded))
        found.restype = result
        found.argtypes = argtypes
        return found

    return function


def _error_check(name: str, blame: "int | None") -> "Any":
    def check(result: int, function: object, arguments: "tuple[Any, ...]") -> int:
        if result == -1:
            errno = _ctypes.get_errno()
            path = b"" if blame is None else arguments[blame] or b""  # NULL, or "" with AT_EMPTY_PATH
            raise OSError(errno, os.strerror(errno), f"{name} {path.decode('utf-8', 'surrogateescape')}".rstrip(" "))
        return result

    return check


def raw_syscall(code: int, arguments: "list[int]") -> "tuple[int, int]":
    """Make the system call with the number `code`; return (result, errno), errno 0 on success."""
    _ctypes.set_errno(0)
    result = _raw(code, *arguments)
    return result, _ctypes.get_errno() if result == -1 else 0


_raw = _Function(("syscall", _LIBC))
_raw.argtypes = (c_long, *[c_ulong] * 6)
_raw.restype = c_long


def buffer(content: bytes) -> "Any":
    """Return a C array that holds `content`: addressof() returns its address, .raw its content."""
    array = (c_char * len(content))()
    array.raw = content
    return array
