"""<malloc.h>: what malloc(3) does with memory that is freed."""

from foundation.linux.libc import c_int, declare

_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST_THRESHOLD = 32 << 20  # bytes: mallopt(3) takes no more for blocks that get a mapping of their own


def keep_freed(size: int) -> None:
    """Let malloc(3) keep up to `size` bytes that are freed for what is allocated next, in each thread's heap.

    By itself glibc soon returns large blocks to the kernel, and the next block costs a page fault for each 4 KiB. Other
    libraries, such as musl, have no mallopt(3), and stay as they are.
    """
    try:
        mallopt = declare("mallopt", c_int, c_int)
    except AttributeError:
        return
    mallopt(_M_MMAP_THRESHOLD, _LARGEST_THRESHOLD)
    mallopt(_M_TRIM_THRESHOLD, size)
