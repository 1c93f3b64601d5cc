"""A directory tree that is being filled, reached by descriptor only.

A path from an archive is resolved component by component below the root's descriptor: symbolic links are read and
followed by us, inside the root, so that neither `..` nor a link to `/etc` can leave it (CVE-2007-4559 and its many
heirs). The kernel is never given more than one component. Nobody else writes to the tree meanwhile: it has a
temporary name in a directory that only we can enter.

Paths are bytes, without a leading slash, and canonical once they have been resolved: no link, no `.`, no `..`.
"""

import os
import stat

from pyfetch.errors import VerificationError, show

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAXIMUM_LINKS = 40  # path_resolution(7): as many as the kernel follows
_MAXIMUM_OPEN = 200  # far below the usual limit of 1,024


class Tree:
    """`root` is a descriptor of the root directory; it remains the caller's."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._descriptors: dict[bytes, int] = {b"": root}
        self._canonical: dict[bytes, bytes] = {b"": b""}
        self.made: list[bytes] = []  # directories that no entry asked for, until the caller takes them
        self.closed: dict[bytes, int] = {}  # modes of directories that had to be opened up, to be restored

    def __enter__(self) -> "Tree":
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()

    def forget(self) -> None:
        """Drop what is known about paths: after a directory or a link was removed or replaced, it may be wrong."""
        self._close()
        self._canonical = {b"": b""}

    def resolve(self, path: bytes, make: bool = False) -> bytes:
        """Return the canonical path of the directory `path`, making what is missing of it if `make`."""
        found = self._canonical.get(path)
        if found is None:
            found = self._canonical[path] = self._walk(path, make)
        return found

    def directory(self, canonical: bytes) -> int:
        """Return a descriptor of the directory `canonical`, good until the next call of a method."""
        here = canonical
        while here not in self._descriptors:
            here = here.rpartition(b"/")[0]
        # All on the way are kept, or a deep tree would take a walk from its root for each of its directories.
        for name in filter(None, canonical[len(here) :].split(b"/")):
            if len(self._descriptors) > _MAXIMUM_OPEN:
                self._close(here)
            above = self._descriptors[here]
            here = join(here, name)
            self._descriptors[here] = self._enter(here, name, above)
        return self._descriptors[here]

    def _enter(self, path: bytes, name: bytes, above: int) -> int:
        try:
            return os.open(name, _OPEN_DIRECTORY, dir_fd=above)
        except PermissionError:  # not root, and the image has a directory that its owner cannot read
            self.closed[path] = stat.S_IMODE(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
            return _open_directory(name, above)

    def _close(self, kept: bytes = b"") -> None:
        for path, descriptor in self._descriptors.items():
            if path not in (b"", kept):
                os.close(descriptor)
        self._descriptors = {b"": self.root, kept: self._descriptors[kept]}

    def _walk(self, path: bytes, make: bool) -> bytes:
        here = b""
        links = 0
        pending = path.split(b"/")[::-1]
        while pending:
            name = pending.pop()
            if name in (b"", b"."):
                continue
            if name == b"..":  # here is canonical: taking off its last part is what the kernel would do
                here = here.rpartition(b"/")[0]
                continue
            target = self._step(here, name, make)
            if target is None:
                here = join(here, name)
                self._canonical[here] = here
                continue
            links += 1
            if links > _MAXIMUM_LINKS:
                raise VerificationError(f"layer: {show(path)}: too many levels of symbolic links")
            if target.startswith(b"/"):
                here = b""
            pending += target.split(b"/")[::-1]
        return here

    def _step(self, here: bytes, name: bytes, make: bool) -> "bytes | None":
        """Return where the link `name` in `here` points to, or None where it is a directory."""
        path = join(here, name)
        if self._canonical.get(path) == path:
            return None
        above = self.directory(here)
        try:
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            if not make:
                raise
            os.mkdir(name, 0o755, dir_fd=above)
            self.made.append(path)
            return None
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=above)
        if not stat.S_ISDIR(status.st_mode):
            raise VerificationError(f"layer: {show(path)} is a file, but files are to be put into it")
        return None


def join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def _open_directory(name: bytes, above: int) -> int:
    try:
        return os.open(name, _OPEN_DIRECTORY, dir_fd=above)
    except PermissionError:
        os.chmod(name, 0o700, dir_fd=above)
        return os.open(name, _OPEN_DIRECTORY, dir_fd=above)


def remove(name: "bytes | str", above: int) -> bool:
    """Remove `name` in the directory `above`, whatever it is. Tell whether it was there."""
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return False
    except (IsADirectoryError, PermissionError):  # POSIX allows EPERM for a directory
        remove_directory(os.fsencode(name), above)
    return True


def remove_directory(name: bytes, above: int) -> None:
    """Remove the directory `name` with all that is in it, however deep: one descriptor at a time, no recursion."""
    here = _open_directory(name, above)
    names = [name]
    pending = [_unlink_files(here)]
    try:
        while pending:
            if pending[-1]:
                names.append(pending[-1].pop())
                here = _replace(here, lambda parent: _open_directory(names[-1], parent))
                pending.append(_unlink_files(here))
                continue
            pending.pop()
            done = names.pop()
            # Nobody moves directories here meanwhile: ".." is where we came from.
            here = _replace(here, lambda child: os.open("..", _OPEN_DIRECTORY, dir_fd=child))
            os.rmdir(done, dir_fd=here)
    finally:
        os.close(here)


def _replace(old: int, make: "Callable[[int], int]") -> int:
    """Close the descriptor `old`, also where making the new one from it fails."""
    try:
        return make(old)
    finally:
        os.close(old)


def _unlink_files(directory: int) -> "list[bytes]":
    """Unlink what is no directory in `directory`, and return the names of the directories."""
    directories = []
    for name, is_directory in children(directory):
        if is_directory:
            directories.append(name)
        else:
            _unlink(name, directory)
    return directories


def _unlink(name: bytes, directory: int) -> None:
    try:
        os.unlink(name, dir_fd=directory)
    except PermissionError:  # not root, and the directory is not writable for its owner
        os.fchmod(directory, 0o700)
        os.unlink(name, dir_fd=directory)


def children(directory: int) -> "list[tuple[bytes, bool]]":
    """Return (name, is a directory) of what is in `directory`."""
    # By descriptor, scandir gives names as str in the file system's encoding.
    with os.scandir(directory) as entries:
        return [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
