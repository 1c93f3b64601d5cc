"""Has the kernel begin to write files to the disk, and waits for nothing.

By itself it begins when a tenth of the memory waits to be written, or after 30 s (dirty_background_ratio and
dirty_expire_centisecs, proc(5)).
"""

from errno import ENOSYS, EPERM

from foundation.linux.libc import c_int, c_long, c_uint, declare

_STEP = 16 << 20  # bytes
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = declare("sync_file_range", c_int, c_long, c_long, c_uint, waits=True)


def begin(fd: int, start: int = 0, size: int = 0) -> None:
    """Begin to write `size` bytes from `start`, or all that follows, of the file `fd`. Raises OSError, such as EIO.

    Only fsync(2) tells whether they have been written.
    """
    try:
        _sync_file_range(fd, start, size, _SYNC_FILE_RANGE_WRITE)
    except OSError as error:
        if error.errno not in (ENOSYS, EPERM):  # a seccomp filter may not know the call, which only saves time
            raise


class Writeback:
    """The progress of a large file `fd`, which is written from its beginning or from `position` on.

    The disk is at work while a network or a decompressor is, and little is left to wait for at fsync(2) or syncfs(2).
    """

    def __init__(self, fd: int, position: int = 0) -> None:
        self._fd = fd
        self._begun = position

    def advance(self, position: int) -> None:
        """The file has been written up to `position`: begin to write it to the disk if there is enough of it."""
        if position - self._begun < _STEP:
            return
        begin(self._fd, self._begun, position - self._begun)
        self._begun = position

    def finish(self) -> None:
        """The file is whole: begin to write the rest."""
        begin(self._fd, self._begun)
