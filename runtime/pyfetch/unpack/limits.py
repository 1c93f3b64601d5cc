"""Limits on what an image may unpack to: archives of a few kilobytes can hold any number of bytes and files."""

from pyfetch.errors import VerificationError

_NAME = 128  # bytes of a path on average, twice those of real images: only paths are kept in memory

# Real layers of text reach 20:1, and a disk image of zeros 1,000:1, which is gzip's maximum. Small layers do no harm; a
# large one that is nearly empty is refused.
_RATIO_FROM = 2 << 30
_RATIO = 250


class Limits:
    """What an image may unpack to; shared by its layers."""

    def __init__(self, size: int, files: int) -> None:
        self.size = self._size_left = size
        self.files = self._files_left = files
        self._names_left = files * _NAME

    def spend(self, size: int, name: bytes) -> None:
        """Count one file, of `size` bytes, by its name; raise VerificationError beyond a limit."""
        self._size_left -= size
        self._files_left -= 1
        self._names_left -= len(name)
        if self._size_left < 0:
            raise VerificationError(f"the image unpacks to more than {self.size} bytes: allow it with --max-size")
        if self._files_left < 0:
            raise VerificationError(f"the image has more than {self.files} files: allow it with --max-files")
        if self._names_left < 0:
            raise VerificationError("the names of the image's files take too much memory: allow it with --max-files")


def check_ratio(taken: int, given: int) -> None:
    """Raise VerificationError for a bomb: `taken` bytes of input that have given `given` bytes."""
    if given > _RATIO_FROM and given > taken * _RATIO:
        raise VerificationError(f"a layer of {taken} bytes unpacks to more than {given}: refused as a bomb")
