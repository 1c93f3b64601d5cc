"""Has large files written to the disk while they grow, so that little is left to wait for at fsync(2) or syncfs(2).

By itself the kernel begins when a tenth of the memory waits to be written, or after 30 s (dirty_background_ratio and
dirty_expire_centisecs, proc(5)). Until then a disk would be idle while a network or a decompressor is at work.
"""

from foundation.linux.libc import c_int, c_long, c_uint, declare

STEP = 16 << 20  # bytes
_SYNC_FILE_RANGE_WRITE = 2
_sync_file_range = declare("sync_file_range", c_int, c_long, c_long, c_uint, waits=True)


class Writeback:
    """The progress of the file `fd`, which is written from its beginning or from `position` on."""

    def __init__(self, fd: int, position: int = 0) -> None:
        self._fd = fd
        self._begun = position

    def advance(self, position: int) -> None:
        """The file has been written up to `position`: begin to write it to the disk if there is enough of it."""
        if position - self._begun < STEP:
            return
        try:
            _sync_file_range(self._fd, self._begun, position - self._begun, _SYNC_FILE_RANGE_WRITE)
        except OSError:
            pass  # the file system or a seccomp filter does not know it; fsync(2) reports what cannot be written
        self._begun = position
