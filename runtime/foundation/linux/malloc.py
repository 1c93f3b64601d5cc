"""<malloc.h>: what malloc(3) does with memory that is freed."""

from foundation.linux.libc import c_int, declare

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20  # bytes: mallopt(3) takes no more for blocks that get a mapping of their own


def keep_freed(size: int) -> None:
    """Have malloc(3) keep freed memory, up to `size` bytes in each thread's heap, and give it out again.

    By itself glibc soon returns large blocks to the kernel, and the next block costs a page fault for each 4 KiB. This
    only saves time, so a refusal is not an error; libraries such as musl have no mallopt(3), and stay as they are.
    """
    try:
        mallopt = declare("mallopt", c_int, c_int)
    except AttributeError:
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, size)
