"""Paths below the root file system: they are opened and created without ever leaving it."""

import _stat as stat
from errno import ELOOP, ENOTDIR

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.openat2 import (
    RESOLVE_IN_ROOT,
    RESOLVE_NO_MAGICLINKS,
    RESOLVE_NO_SYMLINKS,
    RESOLVE_NO_XDEV,
    openat2,
)
from foundation.linux.opened import opened

MAXIMUM_LINKS = 40  # the kernel's limit, path_resolution(7)
_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_ONE_STEP = RESOLVE_NO_SYMLINKS | RESOLVE_NO_XDEV


class Tree:
    """The root file system, as the descriptor `fd` of its root directory.

    Every method resolves a path as a process chrooted there would (openat2(2), Linux 5.6) and returns an O_PATH
    descriptor that the caller closes.  Paths are the container's: "/dev/pts" or "dev/pts".
    """

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def open(self, path: str, flags: int = os.O_PATH) -> int:
        """Open `path`; symlinks are followed inside the root. Raises OSError."""
        return openat2(self.fd, _relative(path), flags, _INSIDE)

    def open_parent(self, path: str) -> "tuple[int, bytes]":
        """Return a descriptor of the parent directory of `path`, created if missing, and the last component."""
        parent, name = os.path.split(_clean(path))
        if not name:
            raise Error(f"{path}: is the root file system itself")
        return self.make_directory(parent), os.fsencode(name)

    def make_directory(self, path: str, mode: int = 0o755) -> int:
        """Open the directory `path`, creating it and its parents if they are missing."""
        return self._make(_clean(path), mode, MAXIMUM_LINKS)

    def make_file(self, path: str) -> int:
        """Open the file `path`, creating an empty one if it is missing. Raises NotADirectoryError for a directory."""
        try:
            fd = self.open(path)
        except FileNotFoundError:
            pass  # created below
        else:
            if not stat.S_ISDIR(os.fstat(fd).st_mode):
                return fd
            os.close(fd)
            raise NotADirectoryError(ENOTDIR, os.strerror(ENOTDIR), path)  # mount(2)'s error, which docker looks for
        parent, name = self.open_parent(path)
        with opened(parent):
            try:
                os.close(os.open(name, os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_CLOEXEC, 0o644, dir_fd=parent))
            except FileExistsError:
                if not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
                    raise
                return self.make_file(_through(_clean(path), name, parent))
            return openat2(parent, name, os.O_PATH, _ONE_STEP)

    def path_of(self, fd: int) -> str:
        """Return the path of `fd` from the root, without symlinks. Must run before pivot_root (it uses /proc)."""
        root, path = (os.fsdecode(os.readlink(descriptor_path(of))) for of in (self.fd, fd))
        return path[len(root) :] or "/"

    def _make(self, path: str, mode: int, links: int) -> int:
        missing: list[str] = []
        while (fd := self._open_directory(path)) < 0:
            path, name = os.path.split(path)
            missing.append(name)
        while missing:
            parent, name = fd, missing.pop()
            path = os.path.join(path, name)
            with opened(parent):
                if not _make_directory(name, mode, parent):
                    through = os.path.join(_through(path, os.fsencode(name), parent), *reversed(missing))
                    if links == 0:
                        raise OSError(ELOOP, os.strerror(ELOOP), path)
                    return self._make(through, mode, links - 1)
                fd = openat2(parent, os.fsencode(name), os.O_PATH | os.O_DIRECTORY, _ONE_STEP)
        return fd

    def _open_directory(self, path: str) -> int:
        """Return -1 if the directory, or the target of a symlink that leads to it, does not exist."""
        try:
            return openat2(self.fd, _relative(path), os.O_PATH | os.O_DIRECTORY, _INSIDE)
        except FileNotFoundError:
            return -1


def _make_directory(name: str, mode: int, parent: int) -> bool:
    """Make the directory unless a file of that name exists; return False if that is a symlink."""
    try:
        os.mkdir(name, mode, dir_fd=parent)
    except FileExistsError:
        return not stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode)
    return True


def _through(path: str, name: bytes, parent: int) -> str:
    """Return the target of the dangling symlink `name` in `parent`, whose path is `path`, as a path from the root."""
    target = os.fsdecode(os.readlink(name, dir_fd=parent))
    return _clean(os.path.join(os.path.dirname(path), target))


def _clean(path: str) -> str:
    """Return `path` from the root, with ".." resolved: the parent of "/" is "/", as in a chroot."""
    return os.path.normpath("/" + path.lstrip("/"))


def _relative(path: str) -> bytes:
    return os.fsencode(path) or b"."


def descriptor_path(fd: int) -> bytes:
    """Return a path of the file of `fd`, for calls that take no descriptor. It is valid while /proc is the host's."""
    return b"/proc/self/fd/%d" % fd
