"""Paths below the root file system: found and made without ever leaving it."""

import os
import stat

from pyrun.errors import Error
from pyrun.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_SYMLINKS, RESOLVE_NO_XDEV, openat2

MAXIMUM_LINKS = 40  # as the kernel's own limit, path_resolution(7)
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_ONE_STEP = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV


class Tree:
    """The root file system, as the descriptor `fd` of its root directory.

    Every method resolves a path as a process chrooted there would, and returns an O_PATH descriptor that its caller
    closes.  The paths are the container's: "/dev/pts" or "dev/pts".
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """Open `path`, following symlinks inside of the root."""
        return openat2(self.fd, _relative(path), flags, _INSIDE)

    def open_parent(self, path: str) -> "tuple[int, bytes]":
        """Return a descriptor of the directory that `path` is in, made if need be, and its last component."""
        parent, name = os.path.split(_clean(path))
        if not name:
            raise Error(f"{path}: is the root file system itself")
        return self.make_directory(parent), os.fsencode(name)

    def make_directory(self, path: str, mode: int = 0o755) -> int:
        """Open the directory `path`, making it and its parents where they are missing."""
        return self._make(_clean(path), mode, MAXIMUM_LINKS)

    def make_file(self, path: str) -> int:
        """Open the file `path` (of any type but a directory), making an empty one where it is missing."""
        try:
            return self.open(path)
        except FileNotFoundError:
            pass  # made below
        parent, name = self.open_parent(path)
        try:
            try:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
            except FileExistsError:
                if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise
                return self.make_file(_through(_clean(path), name, parent))
            return openat2(parent, name, os.O_PATH, _ONE_STEP)
        finally:
            os.close(parent)

    def path_of(self, fd: int) -> str:
        """Return where below the root `fd` is, without any symlink. Must run while /proc is the host's, and before
        the tree is entered."""
        root, path = (os.fsdecode(os.readlink(descriptor_path(of))) for of in (self.fd, fd))
        return path[len(root) :] or "/"

    def _make(self, path: str, mode: int, links: int) -> int:
        try:
            return openat2(self.fd, _relative(path), os.O_PATH | os.O_DIRECTORY, _INSIDE)
        except FileNotFoundError:
            pass  # made below
        parent_path, name = os.path.split(path)
        parent = self._make(parent_path, mode, links)
        try:
            try:
                os.mkdir(name, mode, dir_fd=parent)
            except FileExistsError:
                if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    if links == 0:
                        raise
                    return self._make(_through(path, os.fsencode(name), parent), mode, links - 1)
            return openat2(parent, os.fsencode(name), os.O_PATH | os.O_DIRECTORY, _ONE_STEP)
        finally:
            os.close(parent)


def _through(path: str, name: bytes, parent: int) -> str:
    """Return where the dangling symlink `name` in `parent`, found at `path`, points, as a path from the root."""
    target = os.fsdecode(os.readlink(name, dir_fd=parent))
    return _clean(os.path.join(os.path.dirname(path), target))


def _clean(path: str) -> str:
    """Return `path` from the root, without ".." : "/" and what is above it are the same, as in a chroot."""
    return os.path.normpath("/" + path.lstrip("/"))


def _relative(path: str) -> bytes:
    return os.fsencode(path) or b"."


def descriptor_path(fd: int) -> bytes:
    """Return a path of what `fd` is open on, for the calls that take no descriptor. Valid while /proc is the host's."""
    return b"/proc/self/fd/%d" % fd
