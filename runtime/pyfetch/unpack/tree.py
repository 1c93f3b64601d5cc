"""A directory tree that is being filled, reached by descriptor only.

A path from an archive is resolved component by component below the root's descriptor: symbolic links are read and
followed by us, inside the root, so that neither `..` nor a link to `/etc` can leave it (CVE-2007-4559 and many
others). The kernel is never given more than one component. Nobody else writes to the tree meanwhile: it has a
temporary name in a directory that only we can enter.

Paths are bytes, without a leading slash, and canonical once they have been resolved: no link, no `.`, no `..`.

A user who is not root, and has only one id, owns directories that he may not write to, search or read (Fedora's `/`,
Go's module cache). He may change their modes, so they are opened up while the tree is in use.
"""

import errno
import stat

from foundation.linux import os
from pyfetch.errors import VerificationError, show

OPEN_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_MAXIMUM_LINKS = 40  # path_resolution(7): as many as the kernel follows
_MAXIMUM_OPEN = 200  # far below the usual limit of 1,024


class Tree:
    """`root` is a descriptor of the root directory; it remains the caller's."""

    def __init__(self, root: int) -> None:
        self.root = root
        self._descriptors: dict[bytes, int] = {b"": root}
        self._canonical: dict[bytes, bytes] = {b"": b""}
        # (path, time of the directory above before) of directories made without an entry; the caller empties the list
        self.made: list[tuple[bytes, int]] = []
        self._closed: dict[bytes, int] = {}  # modes of directories that had to be opened up

    def __enter__(self) -> "Tree":
        if is_limited():
            self.set_mode(b"", stat.S_IMODE(os.fstat(self.root).st_mode))
        return self

    def __exit__(self, *_: object) -> None:
        self.forget()
        if b"" in self._closed:
            os.fchmod(self.root, self._closed.pop(b""))

    def forget(self) -> None:
        """Forget all paths, which may be wrong once a directory or link is replaced; restore opened-up modes."""
        for path in sorted(filter(None, self._closed), reverse=True):  # the lower one of two directories comes first
            try:
                os.fchmod(self.directory(path), self._closed[path])
            except (FileNotFoundError, NotADirectoryError):
                pass  # it was removed
        self._closed = {path: mode for path, mode in self._closed.items() if not path}
        self._close()
        self._canonical = {b"": b""}

    def set_mode(self, canonical: bytes, mode: int) -> None:
        """Set the directory's mode; permissions that we need to work in it are taken away by forget() only."""
        self._closed.pop(canonical, None)
        os.fchmod(self.directory(canonical), self._open_mode(canonical, mode))

    def _open_mode(self, path: bytes, mode: int) -> int:
        """Return the mode of `path` until forget(), if `mode` is its final one."""
        if mode & 0o700 == 0o700 or not is_limited():
            return mode
        self._closed[path] = mode
        return mode | 0o700

    def known(self, path: bytes) -> "bytes | None":
        """Return what resolve() has returned for `path`, if that is still right."""
        return self._canonical.get(path)

    def resolve(self, path: bytes, make: bool = False) -> bytes:
        """Return the canonical path of the directory `path`; `make` makes its missing parts.

        Raise NotADirectoryError, with the canonical path, if something else is in the way.
        """
        found = self._canonical.get(path)
        if found is None:
            found = self._canonical[path] = self._walk(path, make)
        return found

    def directory(self, canonical: bytes) -> int:
        """Return a descriptor of the directory `canonical`, which is valid until the next call of a method."""
        found = self._descriptors.get(canonical)
        if found is not None:
            return found
        here = canonical
        while here not in self._descriptors:
            here = here.rpartition(b"/")[0]
        # All on the way are kept: a deep tree would otherwise need a walk from its root for each directory.
        for name in filter(None, canonical[len(here) :].split(b"/")):
            if len(self._descriptors) > _MAXIMUM_OPEN:
                self._close(here)
            above = self._descriptors[here]
            here = join(here, name)
            self._descriptors[here] = self._enter(here, name, above)
        return self._descriptors[here]

    def _enter(self, path: bytes, name: bytes, above: int) -> int:
        if is_limited():
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
            mode = stat.S_IMODE(status.st_mode)
            if stat.S_ISDIR(status.st_mode) and mode & 0o700 != 0o700:
                os.chmod(name, self._open_mode(path, mode), dir_fd=above)
        return os.open(name, OPEN_DIRECTORY, dir_fd=above)

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
        """Return the target of the link `name` in `here`, or None if it is a directory."""
        path = join(here, name)
        if self._canonical.get(path) == path:
            return None
        above = self.directory(here)
        try:
            status = os.stat(name, dir_fd=above, follow_symlinks=False)
        except FileNotFoundError:
            if not make:
                raise
            self.made.append((path, os.fstat(above).st_mtime_ns))
            os.mkdir(name, 0o755, dir_fd=above)
            return None
        if stat.S_ISLNK(status.st_mode):
            return os.readlink(name, dir_fd=above)
        if not stat.S_ISDIR(status.st_mode):
            raise NotADirectoryError(errno.ENOTDIR, os.strerror(errno.ENOTDIR), path)
        return None


def join(directory: bytes, name: bytes) -> bytes:
    return directory + b"/" + name if directory else name


def is_limited() -> bool:
    """Return whether modes of directories limit us: root, also of a user namespace, has CAP_DAC_OVERRIDE."""
    return os.geteuid() != 0


def children(directory: int) -> "list[tuple[bytes, bool]]":
    """Return (name, is a directory) for all that is in `directory`, a descriptor."""
    # By descriptor, scandir gives names as str in the file system's encoding.
    with os.scandir(directory) as entries:
        return [(os.fsencode(entry.name), entry.is_dir(follow_symlinks=False)) for entry in entries]
