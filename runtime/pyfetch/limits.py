"""Limits on what an image may unpack to: archives of a few kilobytes can hold any number of bytes and files."""

from pyfetch.errors import VerificationError


class Limits:
    """What an image may unpack to; shared by its layers."""

    def __init__(self, size: int, files: int) -> None:
        self.size = self._size_left = size
        self.files = self._files_left = files

    def spend(self, size: int) -> None:
        self._size_left -= size
        self._files_left -= 1
        if self._size_left < 0:
            raise VerificationError(f"the image unpacks to more than {self.size} bytes: allow it with --max-size")
        if self._files_left < 0:
            raise VerificationError(f"the image has more than {self.files} files: allow it with --max-files")
