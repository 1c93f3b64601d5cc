"""A tar archive into a tree that others may change meanwhile: nothing outside of the root is reached.

The directory of an entry is resolved by the kernel below the root, as a process chrooted there would do it
(openat2(2), RESOLVE_IN_ROOT), and then used as a descriptor (CVE-2018-15664), also for the entries after it that are in
the same directory. What is made in it is made anew, and gets its attributes by its descriptor. No name is looked up in
files of the root (CVE-2019-14271).
"""

import stat
from itertools import groupby

from foundation.linux import os
from foundation.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from foundation.rootless import has_one_id
from pyfetch.unpack import tar
from pyfetch.unpack.layer import clean, is_kept, write_content
from pyfetch.unpack.removal import remove
from pyfetch.unpack.tree import join
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import TypeVar

    T = TypeVar("T")

_INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_ATTEMPTS = 100  # to take a name that others take, too


class Extraction:
    """Puts archives into the directory `top` below `root`, a descriptor; the process's umask must be 0.

    owner             (uid, gid) of all that is made, instead of those in the archive
    mode              its permissions, likewise
    keeps_directories whether a directory may not be replaced by something else, nor something else by a directory
    rename            (old, new): the first name of all paths; an old one that is empty stands for the archive's root
    takes_root        whether `top` gets the attributes of the archive's root; if not, it keeps its own, as with docker
    """

    def __init__(
        self,
        root: int,
        top: bytes,
        owner: "tuple[int, int] | None" = None,
        keeps_directories: bool = False,
        rename: "tuple[bytes, bytes]" = (b"", b""),
        mode: "int | None" = None,
        takes_root: bool = False,
    ) -> None:
        self._root = root
        self._top = top
        self._owner = (0, 0) if has_one_id() else owner  # who has one id can give nothing to others
        self._mode = mode
        self._keeps_directories = keeps_directories
        self._rename = rename
        self._takes_root = takes_root
        self._times: dict[bytes, int] = {}  # of directories: filling them would change these

    def extract(self, chunks: "Iterator[bytes]") -> None:
        """Make all that is in the archive. Raises VerificationError, ApiError or OSError."""
        stream = tar.Stream(chunks)
        archive = tar.Archive(stream)
        entries = ((self._renamed(clean(entry)), entry) for entry in archive)
        for above, there in groupby(entries, lambda entry: entry[0].rpartition(b"/")[0]):
            with opened(self._directory(above)) as directory:
                for path, entry in there:
                    self._make(entry, archive, directory, path.rpartition(b"/")[2], path)
        stream.drain()
        for path, time in self._times.items():
            try:
                with opened(self._open(path)) as directory:
                    os.utime(b"/proc/self/fd/%d" % directory, ns=(time, time))
            except (FileNotFoundError, NotADirectoryError):
                pass  # the container has removed it

    def _renamed(self, path: bytes) -> bytes:
        old, new = self._rename
        if not old:
            return join(new, path) if path else new
        first, slash, rest = path.partition(b"/")
        return new + slash + rest if first == old else path

    def make_directory(self, path: bytes) -> None:
        """Make the directory `path`, and those above it, if it is missing."""
        os.close(self._directory(path))

    def _open(self, path: bytes) -> int:
        return openat2(self._root, join(self._top, path) or b".", os.O_PATH | os.O_DIRECTORY, _INSIDE)

    def _directory(self, path: bytes) -> int:
        """Return a descriptor of the directory `path` below `top`, which is made if it is missing."""
        missing: list[bytes] = []
        while True:
            try:
                found = self._open(path)
                break
            except FileNotFoundError:
                if not path:
                    raise
            path, _, name = path.rpartition(b"/")
            missing.append(name)
        for name in reversed(missing):
            with opened(found):
                self._make_parent(found, name)
            path = join(path, name)
            found = self._open(path)
        return found

    def _make_parent(self, above: int, name: bytes) -> None:
        try:
            os.mkdir(name, 0o755, dir_fd=above)
            if self._owner:
                os.chown(name, *self._owner, dir_fd=above, follow_symlinks=False)
        except FileExistsError:
            pass  # made by the container, or a dangling link, which the next call says

    def _make(self, entry: tar.Entry, archive: tar.Archive, above: int, name: bytes, path: bytes) -> None:
        uid, gid = self._owner or (entry.uid, entry.gid)
        if entry.kind == tar.DIRECTORY:
            if not (name or self._takes_root):
                return
            with opened(self._make_directory(above, name, path)) as file:
                self._attributes(file, entry, uid, gid)
            self._times[path] = entry.mtime
            return
        if not name:
            raise ApiError(400, "the archive's root is not a directory")
        if entry.kind == tar.HARDLINK:
            self._link(entry, above, name)
            return
        if entry.kind == tar.REGULAR:
            with opened(self._create(above, name)) as file:
                write_content(file, entry, archive.body())
                self._attributes(file, entry, uid, gid)
                os.utime(file, ns=(entry.mtime, entry.mtime))
            return
        if entry.kind == tar.SYMLINK:
            self._make_anew(above, name, lambda: os.symlink(entry.target, name, dir_fd=above))
        else:
            mode, device = _TYPES[entry.kind] | entry.mode, os.makedev(entry.major, entry.minor)
            self._make_anew(above, name, lambda: os.mknod(name, mode, device, dir_fd=above))
        os.chown(name, uid, gid, dir_fd=above, follow_symlinks=False)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=above, follow_symlinks=False)

    def _make_directory(self, above: int, name: bytes, path: bytes) -> int:
        if not name:
            return os.open(b"/proc/self/fd/%d" % above, _DIRECTORY & ~os.O_NOFOLLOW)
        try:
            os.mkdir(name, 0o700, dir_fd=above)
        except FileExistsError:
            if not _is_directory(above, name):
                if self._keeps_directories:
                    raise ApiError(
                        400, f'cannot overwrite non-directory "/{os.fsdecode(path)}" with directory'
                    ) from None
                self._make_anew(above, name, lambda: os.mkdir(name, 0o700, dir_fd=above))
        return os.open(name, _DIRECTORY, dir_fd=above)

    def _create(self, above: int, name: bytes) -> int:
        return self._make_anew(above, name, lambda: os.open(name, _CREATE, 0o600, dir_fd=above))

    def _make_anew(self, above: int, name: bytes, make: "Callable[[], T]") -> "T":
        """Call `make`, which makes the file `name`, and return its result. A file that has the name already is removed.

        Few names are taken, so nothing looks for one before. A name that was just free may be taken again: by another
        client, or by a program of the container.
        """
        for _ in range(_ATTEMPTS):
            try:
                return make()
            except FileExistsError:
                self._make_room(above, name)
        return make()

    def _make_room(self, above: int, name: bytes) -> None:
        if self._keeps_directories and _is_directory(above, name):
            raise ApiError(400, f'cannot overwrite directory "/{os.fsdecode(name)}" with non-directory')
        remove(name, above)

    def _link(self, entry: tar.Entry, above: int, name: bytes) -> None:
        folder, _, target = self._renamed(clean(entry, entry.target)).rpartition(b"/")
        with opened(self._open(folder)) as source:
            if target == name and os.path.samestat(os.fstat(source), os.fstat(above)):
                return
            self._make_anew(
                above,
                name,
                lambda: os.link(target, name, src_dir_fd=source, dst_dir_fd=above, follow_symlinks=False),
            )

    def _attributes(self, file: int, entry: tar.Entry, uid: int, gid: int) -> None:
        os.fchown(file, uid, gid)  # before the mode and the attributes, which it may clear
        os.fchmod(file, entry.mode if self._mode is None else self._mode)
        for name, value in (entry.xattrs or {}).items():
            if is_kept(name):
                try:
                    os.setxattr(file, name, value)
                except OSError:
                    pass  # the file system has none, or not this one: docker goes on too


_TYPES = {tar.CHARACTER: stat.S_IFCHR, tar.BLOCK_DEVICE: stat.S_IFBLK, tar.FIFO: stat.S_IFIFO}


def _is_directory(above: int, name: bytes) -> bool:
    try:
        return stat.S_ISDIR(os.stat(name, dir_fd=above, follow_symlinks=False).st_mode)
    except FileNotFoundError:
        return False
