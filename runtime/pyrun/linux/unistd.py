"""<unistd.h>: what Python's os lacks of it."""

from pyrun.linux.libc import c_char_p, c_size_t, c_uint, declare, declare_syscall

_setdomainname = declare("setdomainname", c_char_p, c_size_t)
_close_range = declare_syscall("close_range", c_uint, c_uint, c_uint)


def setdomainname(name: bytes) -> None:
    _setdomainname(name, len(name))


def close_range(first: int, last: int = 0xFFFFFFFF) -> None:
    """Close all descriptors from `first` to `last`, in one call (Linux 5.9)."""
    _close_range(first, last, 0)
