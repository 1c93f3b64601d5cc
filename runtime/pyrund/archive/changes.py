"""What a container has added, changed and deleted: what its upper layer has.

A deleted file is a device 0:0 there, and a directory that hides the one below it has an attribute
(Documentation/filesystems/overlayfs.rst).
"""

import stat

from foundation import overlayfs
from foundation.linux import os
from foundation.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS, openat2
from foundation.linux.opened import opened

MODIFIED, ADDED, DELETED = 0, 1, 2  # as docker's API has them
LOOK = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
BELOW = RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS
_GONE = (FileNotFoundError, NotADirectoryError)  # or something else is there now
# The runtime makes these for its mounts; dockerd has them in a layer of their own.
OF_THE_RUNTIME = frozenset(
    b"/dev /dev/console /dev/pts /dev/shm /dev/mqueue /etc/hosts /etc/hostname /etc/resolv.conf /proc /sys".split()
)

# What a container has below its image (model/init_layer.py), and may change.
OF_INIT_LAYER = frozenset((b"/.dockerenv", b"/etc", b"/etc/mtab"))


class Comparison:
    """`image` is a descriptor of the root of the image, -1 for one without layers."""

    def __init__(self, image: int) -> None:
        self._image = image
        self.opaque: set[bytes] = set()  # directories that hide one of the image

    def of(self, upper: str) -> "list[tuple[bytes, int]]":
        """Return (path, kind) of all changes in the directory `upper`, each directory before what is in it.

        What a running container removes meanwhile is left out.
        """
        found: list[tuple[bytes, int]] = []
        hiding: set[bytes] = set()  # directories below which nothing of the image is seen
        pending = [b"/"]
        with opened(os.open(upper, LOOK | os.O_DIRECTORY)) as top:
            while pending:
                above = pending.pop()
                try:
                    directory = openat2(top, above, os.O_RDONLY | os.O_DIRECTORY, BELOW)
                except _GONE:
                    continue
                with opened(directory):
                    for name in sorted(map(os.fsencode, os.listdir(directory))):
                        path = above.rstrip(b"/") + b"/" + name
                        try:
                            file = os.open(name, LOOK, dir_fd=directory)
                        except FileNotFoundError:
                            continue
                        with opened(file):
                            status = os.fstat(file)
                            kind = self._kind(path, file, status)
                            if stat.S_ISDIR(status.st_mode) and (above in hiding or self._is_opaque(path, file)):
                                hiding.add(path)
                        if kind is None and {above, path} & hiding and path not in OF_THE_RUNTIME:
                            kind = MODIFIED
                        if kind is not None:
                            found.append((path, kind))
                        if stat.S_ISDIR(status.st_mode):
                            pending.append(path)
        return sorted(found)

    def _kind(self, path: bytes, file: int, status: "os.stat_result") -> "int | None":
        """Return what has happened to `path`, or None: a directory is there too if only something in it was changed."""
        if is_gone(status):
            return DELETED
        try:
            with opened(openat2(self._image, path, LOOK, BELOW)) as old:
                before = os.fstat(old)
        except OSError:  # FileNotFoundError, NotADirectoryError
            return None if path in OF_THE_RUNTIME else MODIFIED if path in OF_INIT_LAYER else ADDED
        if stat.S_ISDIR(status.st_mode) and stat.S_ISDIR(before.st_mode) and _attributes(status) == _attributes(before):
            is_same = status.st_mtime_ns == before.st_mtime_ns or self._is_of_the_runtime(path, file)
            return None if is_same else MODIFIED
        return MODIFIED

    def _is_opaque(self, path: bytes, file: int) -> bool:
        try:
            os.getxattr(b"/proc/self/fd/%d" % file, overlayfs.opaque())
            with opened(openat2(self._image, path, LOOK | os.O_DIRECTORY, BELOW)):
                self.opaque.add(path)
        except OSError:
            return False  # there is no such attribute, or nothing to hide
        return True

    def _is_of_the_runtime(self, path: bytes, file: int) -> bool:
        """Whether all that was made in the directory `path` are places of the runtime's mounts."""
        names = map(os.fsencode, os.listdir(b"/proc/self/fd/%d" % file))
        return all(path + b"/" + name in OF_THE_RUNTIME for name in names)


def is_gone(status: "os.stat_result") -> bool:
    """Return whether a file of an upper layer stands for one that was deleted."""
    return stat.S_ISCHR(status.st_mode) and status.st_rdev == 0


def _attributes(status: "os.stat_result") -> "tuple[int, int, int]":
    return status.st_mode, status.st_uid, status.st_gid
