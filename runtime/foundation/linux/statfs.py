"""<sys/statfs.h>: the type of a file system."""

from foundation.linux.libc import addressof, buffer, c_int, c_void_p, declare

# <linux/magic.h>
NSFS_MAGIC = 0x6E736673
PROC_SUPER_MAGIC = 0x9FA0
SYSFS_MAGIC = 0x62656572
CGROUP_SUPER_MAGIC = 0x27E0EB
CGROUP2_SUPER_MAGIC = 0x63677270

_SIZE = 120  # bytes of struct statfs on 64-bit machines; the type is its first word
_fstatfs = declare("fstatfs", c_int, c_void_p)


def file_system_type(fd: int) -> int:
    """Return the magic number (<linux/magic.h>) of the file system of the file `fd`, which may be open with O_PATH."""
    found = buffer(bytes(_SIZE))
    _fstatfs(fd, addressof(found))
    return int.from_bytes(found.raw[:8], "little")
