"""The C library, with errno turned into OSError. The only module that imports ctypes."""

import ctypes
import os

from pyrun.linux.syscalls import number

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

Structure = ctypes.Structure
addressof = ctypes.addressof
byref = ctypes.byref
c_char_p = ctypes.c_char_p
c_int = ctypes.c_int
c_long = ctypes.c_long
c_size_t = ctypes.c_size_t
c_uint = ctypes.c_uint
c_uint8 = ctypes.c_uint8
c_uint16 = ctypes.c_uint16
c_uint32 = ctypes.c_uint32
c_uint64 = ctypes.c_uint64
c_ulong = ctypes.c_ulong
c_void_p = ctypes.c_void_p
create_string_buffer = ctypes.create_string_buffer
memmove = ctypes.memmove
sizeof = ctypes.sizeof

# CDLL(None) is the libc we already run on: ctypes.util.find_library() would take 10 ms and run ldconfig.
# PyDLL keeps the GIL: nothing here has a second thread, and a forking call must not give it up.
_libc = ctypes.PyDLL(None, use_errno=True)


def declare(name: str, *argtypes: "type", blame: "int | None" = None) -> "Callable[..., int]":
    """Return the libc function `name`, made to raise OSError where C returns -1.

    `blame` is the index of the argument that the error shall name, as `open` names its file.
    """
    function = _libc[name]
    function.argtypes = argtypes
    function.restype = c_int
    function.errcheck = _error_check(blame)
    return function


def declare_syscall(name: str, *argtypes: "type", blame: "int | None" = None) -> "Callable[..., int]":
    """The same for a system call that glibc does not wrap, or not in every version that we run with."""
    function = _libc["syscall"]  # [] makes a new function object each time, so that argtypes are not shared
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
            errno = ctypes.get_errno()
            filename = None if blame is None else arguments[blame]
            raise OSError(errno, os.strerror(errno), filename)
        return result

    return check


def raw_syscall(code: int, arguments: "list[int]") -> "tuple[int, int]":
    """Make the system call with the number `code`; return (result, errno), errno 0 on success."""
    ctypes.set_errno(0)
    result = _raw(code, *arguments)
    return result, ctypes.get_errno() if result == -1 else 0


_raw = _libc["syscall"]
_raw.argtypes = (c_long, *[c_ulong] * 6)
_raw.restype = c_long
