"""tee(2): copy the content of a pipe, which stays in it."""

from foundation.linux.libc import c_int, c_size_t, c_uint, declare

_SPLICE_F_NONBLOCK = 2

_tee = declare("tee", c_int, c_int, c_size_t, c_uint)


def tee(source: int, sink: int, size: int) -> int:
    """Copy up to `size` bytes from the pipe `source` to the pipe `sink`; return how many, 0 at the end of `source`.

    They stay in `source`. Raises BlockingIOError if there are none yet, or if `sink` is full.
    """
    return _tee(source, sink, size, _SPLICE_F_NONBLOCK)
