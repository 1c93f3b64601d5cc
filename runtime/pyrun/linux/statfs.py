"""<sys/statfs.h>: which file system something is on."""

from pyrun.linux.libc import addressof, buffer, c_int, c_void_p, declare

PROC_SUPER_MAGIC = 0x9FA0  # <linux/magic.h>

_SIZE = 120  # of struct statfs on 64-bit machines; the type is its first word
_fstatfs = declare("fstatfs", c_int, c_void_p)


def file_system_type(fd: int) -> int:
    """Return the magic number of the file system that `fd` is on."""
    found = buffer(bytes(_SIZE))
    _fstatfs(fd, addressof(found))
    return int.from_bytes(found.raw[:8], "little")
