"""Applies a layer, which is a tar archive of changes, to a directory.

Source: image-spec 1.1, layer.md. If docker, containerd, podman and umoci differ, the specification decides; if that is
silent, the strictest of them. A layer is hostile input: tree.py resolves paths, and the code here acts on one name in
one directory, by descriptor, and never follows links.
"""

import errno
import stat

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.whole_file import write_all, write_all_at
from foundation.linux.writeback import Writeback
from pyfetch.errors import VerificationError, show, translate
from pyfetch.unpack import tar
from pyfetch.unpack.limits import Limits
from pyfetch.unpack.removal import remove
from pyfetch.unpack.tree import Tree, children, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."  # bookkeeping of AUFS (.wh..wh.plnk and others), which nobody else needs

_LARGE = 64 << 10  # bytes: few of an image's files have that many, but they are most of what the disk has to write
_MAXIMUM_PATH = 4096  # PATH_MAX: nothing longer could ever be opened by its path
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Other attributes mean something to the machine that unpacks, not to the image. Those of overlayfs would hide files or
# redirect directories when the tree becomes a layer.
_DEFAULT_ACL = b"system.posix_acl_default"
_KEPT_XATTRS = (b"user.", b"security.capability", b"system.posix_acl_access", _DEFAULT_ACL)
_DROPPED_XATTRS = (b"user.overlay.",)
_UNMASKED = 0o755  # the modes that an umask of 022 leaves as they are


class Applier:
    """Applies one layer to the tree below the descriptor `root`.

    `lower` says whether layers were applied before. With `single`, all files belong to the user, who has only one id.
    """

    def __init__(self, root: int, limits: Limits, single: bool, warn: "Callable[[str], None]", lower: bool) -> None:
        self._tree = Tree(root)
        self._limits = limits
        self._single = single
        self._warn = warn
        self._lower = lower
        # paths created by this layer and their parents (kept only if there is a lower layer)
        self._ours: set[bytes] = set()
        # Times of directories, set at the end since filling a directory changes its time. Directories without an entry,
        # the root among them, get a fixed time, so that each run gives the same tree.
        self._times: dict[bytes, int] = {} if lower else {b"": 0}
        self._own = os.geteuid(), os.getegid()
        self._plain: dict[bytes, bool] = {}  # what _is_plain() has found

    def apply(self, archive: tar.Archive) -> None:
        """Apply all entries of `archive`; raise VerificationError, or another Error that names the entry."""
        make = {
            tar.REGULAR: self._file,
            tar.HARDLINK: self._hard_link,
            tar.SYMLINK: self._symbolic_link,
            tar.CHARACTER: self._device,
            tar.BLOCK_DEVICE: self._device,
            tar.FIFO: self._fifo,
        }
        with self._tree:
            for entry in archive:
                try:
                    self._apply(entry, archive, make)
                except OSError as error:
                    raise _on_entry(entry, error) from error
            self._finish_directories()

    def _apply(self, entry: tar.Entry, archive: tar.Archive, make: "dict[bytes, Callable[..., None]]") -> None:
        path = clean(entry)
        self._limits.spend(entry.size if entry.kind == tar.REGULAR else 0, path)
        if not path:
            self._root_entry(entry)
            return
        above, _, name = path.rpartition(b"/")
        if name.startswith(WHITEOUT):
            self._whiteout(entry, above, name)
            return
        above = self._parent(above)
        if self._lower:
            self._remember(join(above, name))
        if entry.kind == tar.DIRECTORY:
            self._directory(entry, above, name)
        else:
            make[entry.kind](entry, above, name, archive)

    def _parent(self, path: bytes) -> bytes:
        """Return the canonical path of the directory `path`; make missing parts, with owner root and mode 0755."""
        known = self._tree.known(path)
        if known is not None and known in self._times:  # it has been a parent before
            return known
        while (canonical := self._make_directory(path)) is None:
            pass
        for made, time_above in self._tree.made:
            self._limits.spend(0, made)
            self._times.setdefault(made.rpartition(b"/")[0], time_above)
            self._times[made] = 0
            self._ours.add(made)
        self._tree.made.clear()
        self._keep_time(canonical)
        return canonical

    def _keep_time(self, directory: bytes) -> None:
        """A directory of a lower layer keeps its time, as with umoci."""
        if directory not in self._times:
            self._times[directory] = os.fstat(self._tree.directory(directory)).st_mtime_ns

    def _make_directory(self, path: bytes) -> "bytes | None":
        """Return the canonical path, or None after removing a lower layer's file that was in the way, as overlayfs."""
        try:
            return self._tree.resolve(path, make=True)
        except NotADirectoryError as error:
            file: bytes = error.filename
            if not self._lower or file in self._ours:
                raise VerificationError(f"layer: {show(file)} is a file, but files are to be put into it") from None
        above, _, name = file.rpartition(b"/")
        self._keep_time(above)
        self._remove(above, name)
        return None

    def _remember(self, path: bytes) -> None:
        while path and path not in self._ours:
            self._ours.add(path)
            path = path.rpartition(b"/")[0]

    # The types of entries.

    def _root_entry(self, entry: tar.Entry) -> None:
        if entry.kind != tar.DIRECTORY:  # CVE-2021-29136: a link as the root would redirect all later entries
            raise entry.wrong("the root of a layer must be a directory")
        self._directory_attributes(entry, b"")
        if not entry.mode & 0o001 and not self._single:
            self._warn(f"the image's root directory has mode {entry.mode:04o}: only root can use this image")

    def _directory(self, entry: tar.Entry, above: bytes, name: bytes) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=self._tree.directory(above))
        except FileExistsError:
            status = os.stat(name, dir_fd=self._tree.directory(above), follow_symlinks=False)
            if not stat.S_ISDIR(status.st_mode):
                self._remove(above, name)
                os.mkdir(name, 0o700, dir_fd=self._tree.directory(above))
        self._directory_attributes(entry, join(above, name))

    def _directory_attributes(self, entry: tar.Entry, path: bytes) -> None:
        self._plain.pop(path, None)
        descriptor = self._tree.directory(path)
        self._chown(entry, descriptor)
        self._replace_xattrs(entry, descriptor)
        self._tree.set_mode(path, entry.mode)
        self._times[path] = entry.mtime

    def _file(self, entry: tar.Entry, above: bytes, name: bytes, archive: tar.Archive) -> None:
        has_all = self._has_all_at_once(entry, above)
        mode = entry.mode if has_all else 0o600
        try:
            descriptor = os.open(name, _CREATE, mode, dir_fd=self._tree.directory(above))
        except FileExistsError:
            self._remove(above, name)
            descriptor = os.open(name, _CREATE, mode, dir_fd=self._tree.directory(above))
        try:
            if entry.size or entry.sparse:
                write_content(descriptor, entry, archive.body())
            if not has_all:
                # In this order: chown(2) clears set-user-ID and security.capability, and users without root can set
                # attributes only of files that they may write to.
                self._chown(entry, descriptor)
                self._replace_xattrs(entry, descriptor)  # an ACL comes from the default ACL of the directory
                os.fchmod(descriptor, entry.mode)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _has_all_at_once(self, entry: tar.Entry, above: bytes) -> bool:
        """Return whether open(2) gives a new file in `above` the entry's owner and mode, and it needs nothing else.

        So it is with most files: without chown(2) and chmod(2) an image of small files is unpacked in 0.95 of the time.
        """
        is_owner = self._single or (entry.uid, entry.gid) == self._own
        return is_owner and not entry.mode & ~_UNMASKED and not entry.xattrs and self._is_plain(above)

    def _is_plain(self, directory: bytes) -> bool:
        """Return whether new files in the directory belong to us, and have the mode that we ask for.

        Their group is ours, or that of the directory (set-group-ID; the mount option grpid), and a default ACL takes
        the place of the umask: acl(5). A file system that takes no owners from us gives the directory another one, too.
        """
        found = self._plain.get(directory)
        if found is None:
            descriptor = self._tree.directory(directory)
            status = os.fstat(descriptor)
            found = (status.st_uid, status.st_gid) == self._own and not _has_default_acl(descriptor)
            self._plain[directory] = found
        return found

    def _hard_link(self, entry: tar.Entry, above: bytes, name: bytes, _archive: tar.Archive) -> None:
        """Make a hard link. The entry's other attributes are ignored: a link has those of its target."""
        target_path = clean(entry, entry.target)
        target_above, _, target = target_path.rpartition(b"/")
        try:
            target_above = self._tree.resolve(target_above)
        except (FileNotFoundError, NotADirectoryError):
            raise entry.wrong(f"hard link to {show(target_path)}, which does not exist") from None
        if (target_above, target) == (above, name):
            return
        status = self._status_of_target(entry, target_above, target)
        if stat.S_ISDIR(status.st_mode):
            raise entry.wrong(f"hard link to {show(target_path)}, which is a directory")
        self._remove(above, name)
        source = os.dup(self._tree.directory(target_above))  # the tree may close its own when it opens another
        try:
            os.link(target, name, src_dir_fd=source, dst_dir_fd=self._tree.directory(above), follow_symlinks=False)
        finally:
            os.close(source)

    def _status_of_target(self, entry: tar.Entry, above: bytes, name: bytes) -> os.stat_result:
        try:
            return os.stat(name or b".", dir_fd=self._tree.directory(above), follow_symlinks=False)
        except FileNotFoundError:
            raise entry.wrong(f"hard link to {show(join(above, name))}, which does not exist") from None

    def _symbolic_link(self, entry: tar.Entry, above: bytes, name: bytes, _archive: tar.Archive) -> None:
        if not 0 < len(entry.target) < _MAXIMUM_PATH:
            raise entry.wrong("a symbolic link to nothing, or to too long a path")
        self._remove(above, name)
        os.symlink(entry.target, name, dir_fd=self._tree.directory(above))
        self._attributes(entry, above, name)

    def _device(self, entry: tar.Entry, above: bytes, name: bytes, _archive: tar.Archive) -> None:
        if (entry.major, entry.minor) == (0, 0) and entry.kind == tar.CHARACTER:
            self._warn(f"left out {show(entry.name)}: device 0:0 is how overlayfs marks a deleted file")
            return
        kind = stat.S_IFCHR if entry.kind == tar.CHARACTER else stat.S_IFBLK
        self._remove(above, name)
        try:
            device = os.makedev(entry.major, entry.minor)
            os.mknod(name, kind | 0o600, device, dir_fd=self._tree.directory(above))
        except (PermissionError, OverflowError):  # not allowed in a user namespace; the runtime makes /dev
            self._warn("left out device files: only root of the host may make them")
            return
        self._attributes(entry, above, name)

    def _fifo(self, entry: tar.Entry, above: bytes, name: bytes, _archive: tar.Archive) -> None:
        self._remove(above, name)
        os.mknod(name, stat.S_IFIFO | 0o600, dir_fd=self._tree.directory(above))
        self._attributes(entry, above, name)

    # Attributes.

    def _chown(self, entry: tar.Entry, descriptor: int) -> None:
        if not self._single:
            os.fchown(descriptor, entry.uid, entry.gid)

    def _attributes(self, entry: tar.Entry, above: bytes, name: bytes) -> None:
        """Set the attributes of links, devices and pipes, which must not be opened."""
        directory = self._tree.directory(above)
        if not self._single:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:  # we made it, where nobody else can enter: it is not a link
            os.chmod(name, entry.mode, dir_fd=directory)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

    def _replace_xattrs(self, entry: tar.Entry, descriptor: int) -> None:
        wanted = entry.xattrs or {}
        for name in _listxattr(descriptor):
            if is_kept(os.fsencode(name)) and os.fsencode(name) not in wanted:
                os.removexattr(descriptor, name)
        if wanted:
            self._set_xattrs(entry, descriptor)

    def _set_xattrs(self, entry: tar.Entry, descriptor: int) -> None:
        for name, value in (entry.xattrs or {}).items():
            if not is_kept(name):
                continue
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:  # unsupported or not permitted: docker goes on too
                self._warn(f"left out the extended attribute {name.decode('utf-8', 'replace')}: {error.strerror}")

    # Whiteouts.

    def _whiteout(self, entry: tar.Entry, above: bytes, name: bytes) -> None:
        target = name[len(WHITEOUT) :]
        if name != OPAQUE and name.startswith(_AUFS):
            return
        if target in (b"", b".", b".."):
            raise entry.wrong("a whiteout of nothing")
        if not self._lower:
            return
        try:
            above = self._tree.resolve(above)
        except (FileNotFoundError, NotADirectoryError):
            return  # nothing to remove: kaniko writes whiteouts below a directory that a file has replaced
        self._parent(above)
        if name == OPAQUE:
            self._hide_lower(above)
        elif join(above, target) not in self._ours:
            self._remove(above, target)
        elif self._is_directory(above, target):
            self._hide_lower(join(above, target))

    def _hide_lower(self, top: bytes) -> None:
        """Remove all of the directory `top` but what this layer brought, which may come before the whiteout."""
        pending = [top]
        while pending:
            path = pending.pop()
            for name, is_directory in children(self._tree.directory(path)):
                if join(path, name) not in self._ours:
                    self._remove(path, name)
                elif is_directory:
                    pending.append(join(path, name))

    def _is_directory(self, above: bytes, name: bytes) -> bool:
        status = os.stat(name, dir_fd=self._tree.directory(above), follow_symlinks=False)
        return stat.S_ISDIR(status.st_mode)

    def _remove(self, above: bytes, name: bytes) -> None:
        directory = self._tree.directory(above)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        except FileNotFoundError:
            return
        remove(name, directory)
        if stat.S_ISDIR(status.st_mode) or stat.S_ISLNK(status.st_mode):
            self._tree.forget()
            self._plain.clear()

    def _finish_directories(self) -> None:
        """Set the final times of directories, now that nothing more will be put into them."""
        for path in sorted(self._times, reverse=True):
            try:
                descriptor = self._tree.directory(path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry removed it, or put something else in its place
            os.utime(descriptor, ns=(self._times[path], self._times[path]))


def clean(entry: tar.Entry, name: "bytes | None" = None) -> bytes:
    """Return the entry's name (or a hard link's target) without empty parts and `.`; refuse `..`."""
    path = entry.name if name is None else name
    if not path:
        raise entry.wrong("an empty name")
    if b"//" in path or b"/." in path or path[:1] in b"/." or path[-1:] == b"/":
        parts = [part for part in path.split(b"/") if part not in (b"", b".")]
        if b".." in parts:
            raise entry.wrong("a name with '..'")
        path = b"/".join(parts)
    if len(path) >= _MAXIMUM_PATH:
        raise entry.wrong("a name longer than any path can be")
    return path


def _on_entry(entry: tar.Entry, error: OSError) -> Error:
    """Return an error that names the entry: the system call knew at most the last part of its path."""
    text = f"layer: {show(entry.name)}: {error.strerror or reason(error)}"
    if error.errno in (errno.EPERM, errno.EINVAL):  # EINVAL: an id that the user namespace does not map
        text += f": cannot give it to {entry.uid}:{entry.gid}; more ids may be needed in /etc/subuid and /etc/subgid"
    return translate(text, error)


def write_content(descriptor: int, entry: tar.Entry, pieces: "Iterator[memoryview]") -> None:
    """Write the content of the entry, `pieces`, to a file that is empty."""
    if entry.sparse is not None:
        _write_sparse(descriptor, entry.size, entry.sparse, pieces)
        return
    if entry.size < _LARGE:
        for piece in pieces:
            write_all(descriptor, piece)
        return
    writeback, position = Writeback(descriptor), 0
    for piece in pieces:
        write_all(descriptor, piece)
        position += len(piece)
        writeback.advance(position)
    writeback.finish()


def _write_sparse(descriptor: int, size: int, parts: "list[tuple[int, int]]", pieces: "Iterator[memoryview]") -> None:
    """Give the empty file `size` bytes; `pieces` are the content of its `parts`, (offset, length)."""
    os.ftruncate(descriptor, size)
    piece = memoryview(b"")
    for offset, length in parts:
        while length:
            piece = piece or next(pieces)
            part, piece = piece[:length], piece[length:]
            write_all_at(descriptor, part, offset)
            offset, length = offset + len(part), length - len(part)


def _listxattr(descriptor: int) -> "list[str]":
    try:
        return os.listxattr(descriptor)
    except OSError:
        return []  # a file system without extended attributes


def _has_default_acl(descriptor: int) -> bool:
    try:
        os.getxattr(descriptor, _DEFAULT_ACL)
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.ENOTSUP):  # it has none, or the file system knows none
            raise
        return False
    return True


def is_kept(name: bytes) -> bool:
    """Return whether the extended attribute `name` means something to the image, and not to this machine."""
    return name.startswith(_KEPT_XATTRS) and not name.startswith(_DROPPED_XATTRS)
