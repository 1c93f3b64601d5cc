"""What a tree of files is, but for its times: two trees with the same fingerprint give the same layer."""

import hashlib
import stat

from foundation.linux import os
from foundation.linux.opened import opened
from pyrund.archive.writer import Archive, kept_xattrs

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


class Fingerprint(Archive):
    """Its members are what tells one file from another."""

    def __init__(self, has_owners: bool) -> None:
        super().__init__()
        self._has_owners = has_owners
        self._hash = hashlib.sha256()

    def add(self, pieces: "Iterator[bytes]") -> None:
        for piece in pieces:
            self._hash.update(piece)

    def digest(self) -> str:
        return self._hash.hexdigest()

    def member(self, file: int, shown: bytes) -> "Iterator[bytes]":
        status = os.fstat(file)
        owner = (status.st_uid, status.st_gid) if self._has_owners else ()
        target = os.readlink(b"", dir_fd=file) if stat.S_ISLNK(status.st_mode) else b""
        size = status.st_size if stat.S_ISREG(status.st_mode) else 0
        xattrs = {} if target else kept_xattrs(b"/proc/self/fd/%d" % file)
        yield repr((shown, status.st_mode, owner, target, status.st_rdev, size, sorted(xattrs.items()))).encode()
        if stat.S_ISREG(status.st_mode):
            with opened(os.open(b"/proc/self/fd/%d" % file, os.O_RDONLY | os.O_CLOEXEC)) as content:
                while data := os.read(content, _CHUNK):
                    yield data
