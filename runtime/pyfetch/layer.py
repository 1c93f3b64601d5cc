"""Applies a layer, which is a tar archive of changes, to a directory.

Source: image-spec 1.1, layer.md. Where docker, containerd, podman and umoci differ, the specification decides; where it
is silent, the strictest of them. A layer is hostile input: see tree.py for paths; everything below acts on one name
in one directory, by descriptor, and never follows it.
"""

import errno
import os
import stat

from pyfetch import tar
from pyfetch.errors import Error, reason, show, translate
from pyfetch.limits import Limits
from pyfetch.tree import Tree, children, join, remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

WHITEOUT = b".wh."
OPAQUE = b".wh..wh..opq"
_AUFS = b".wh..wh."  # bookkeeping of AUFS (.wh..wh.plnk and others), which has no meaning elsewhere

_MAXIMUM_PATH = 4096  # PATH_MAX: nothing longer could ever be opened by its path
_CREATE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC

# Attributes that mean something to the machine that unpacks, not to the image. Those of overlayfs would hide files or
# redirect directories when the tree becomes a layer.
_KEPT_XATTRS = (b"user.", b"security.capability", b"system.posix_acl_access", b"system.posix_acl_default")
_DROPPED_XATTRS = (b"user.overlay.",)


class Applier:
    """Applies one layer to the tree below the descriptor `root`.

    `lower` tells whether layers were applied before. With `single`, all that is unpacked belongs to whoever unpacks,
    since one id is all that he has.
    """

    def __init__(self, root: int, limits: Limits, single: bool, warn: "Callable[[str], None]", lower: bool) -> None:
        self._root = root
        self._tree = Tree(root)
        self._limits = limits
        self._single = single
        self._warn = warn
        self._lower = lower
        self._ours: set[bytes] = set()  # what this layer brought, with all directories above it; if there are lower
        # Of directories, whose times change while they are filled. The root's own, unless an entry or a layer below
        # says otherwise, is a fixed one, as that of all that no entry asked for: else no two runs would give the same.
        self._times: dict[bytes, int] = {} if lower else {b"": 0}
        self._modes: dict[bytes, int] = {}  # of directories that even their owner cannot enter

    def apply(self, archive: tar.Archive) -> None:
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
        self._limits.spend(entry.size if entry.kind == tar.REGULAR else 0)
        path = clean(entry)
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
        """Return the canonical path of the directory `path`; what is missing of it becomes root's, mode 0755."""
        canonical = self._tree.resolve(path, make=True)
        for made in self._tree.made:
            self._times[made] = 0
            self._ours.add(made)
        self._tree.made.clear()
        if canonical not in self._times:  # a directory of a lower layer keeps its time, as with umoci
            self._times[canonical] = os.fstat(self._tree.directory(canonical)).st_mtime_ns
        return canonical

    def _remember(self, path: bytes) -> None:
        while path and path not in self._ours:
            self._ours.add(path)
            path = path.rpartition(b"/")[0]

    # What an entry can be.

    def _root_entry(self, entry: tar.Entry) -> None:
        if entry.kind != tar.DIRECTORY:  # CVE-2021-29136: a link in its place would move all that follows
            raise entry.wrong("the root of a layer must be a directory")
        self._directory_attributes(entry, self._root, b"")
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
        path = join(above, name)
        self._directory_attributes(entry, self._tree.directory(path), path)

    def _directory_attributes(self, entry: tar.Entry, descriptor: int, path: bytes) -> None:
        self._tree.closed.pop(path, None)
        self._chown(entry, descriptor)
        mode = entry.mode
        if self._single and mode & 0o700 != 0o700:
            self._modes[path] = mode
            mode |= 0o700
        os.fchmod(descriptor, mode)
        self._replace_xattrs(entry, descriptor)
        self._times[path] = entry.mtime

    def _file(self, entry: tar.Entry, above: bytes, name: bytes, archive: tar.Archive) -> None:
        try:
            descriptor = os.open(name, _CREATE, 0o600, dir_fd=self._tree.directory(above))
        except FileExistsError:
            self._remove(above, name)
            descriptor = os.open(name, _CREATE, 0o600, dir_fd=self._tree.directory(above))
        try:
            if entry.sparse is not None:
                _write_sparse(descriptor, entry.size, entry.sparse, archive.body())
            elif entry.size:
                _write(descriptor, archive.body())
            # chown(2) clears set-user-ID and security.capability, hence the order.
            self._chown(entry, descriptor)
            os.fchmod(descriptor, entry.mode)
            if entry.xattrs:
                self._set_xattrs(entry, descriptor)
            os.utime(descriptor, ns=(entry.mtime, entry.mtime))
        finally:
            os.close(descriptor)

    def _hard_link(self, entry: tar.Entry, above: bytes, name: bytes, _archive: tar.Archive) -> None:
        """The other attributes of the entry say nothing: a link has those of its target."""
        target_path = clean(entry, entry.target)
        target_above, _, target = target_path.rpartition(b"/")
        try:
            target_above = self._tree.resolve(target_above)
        except FileNotFoundError:
            raise entry.wrong(f"hard link to {show(target_path)}, which does not exist") from None
        if (target_above, target) == (above, name):
            return
        status = self._status_of_target(entry, target_above, target)
        if stat.S_ISDIR(status.st_mode):
            raise entry.wrong(f"hard link to {show(target_path)}, which is a directory")
        self._remove(above, name)
        source = os.dup(self._tree.directory(target_above))  # the tree may close its own to make room for the next
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
        except (PermissionError, OverflowError):  # in a user namespace nobody may, and the runtime makes /dev anyway
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
        """Set those of what cannot be opened without an effect: links, devices and pipes."""
        directory = self._tree.directory(above)
        if not self._single:
            os.chown(name, entry.uid, entry.gid, dir_fd=directory, follow_symlinks=False)
        if entry.kind != tar.SYMLINK:  # just made by us, in a directory that nobody else can enter: no link
            os.chmod(name, entry.mode, dir_fd=directory)
        os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=directory, follow_symlinks=False)

    def _replace_xattrs(self, entry: tar.Entry, descriptor: int) -> None:
        wanted = entry.xattrs or {}
        for name in _listxattr(descriptor):
            if _is_kept(os.fsencode(name)) and os.fsencode(name) not in wanted:
                os.removexattr(descriptor, name)
        if wanted:
            self._set_xattrs(entry, descriptor)

    def _set_xattrs(self, entry: tar.Entry, descriptor: int) -> None:
        for name, value in (entry.xattrs or {}).items():
            if not _is_kept(name):
                continue
            try:
                os.setxattr(descriptor, name, value)
            except OSError as error:  # no support in the file system, or no right to do so: docker goes on too
                self._warn(f"left out the extended attribute {name.decode('utf-8', 'replace')}: {error.strerror}")

    # What a layer takes away.

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
        except FileNotFoundError:
            return  # nothing there to take away
        self._parent(above)
        if name == OPAQUE:
            self._hide_lower(above)
        elif join(above, target) not in self._ours:
            self._remove(above, target)
        elif self._is_directory(above, target):
            self._hide_lower(join(above, target))

    def _hide_lower(self, top: bytes) -> None:
        """Remove what is in the directory `top`, except what this layer brought, which may have come before."""
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

    def _finish_directories(self) -> None:
        """Give directories their final times (and modes), now that nothing will be put into them."""
        for path in sorted(self._times, reverse=True):
            try:
                descriptor = self._tree.directory(path)
            except (FileNotFoundError, NotADirectoryError):
                continue  # a later entry removed it, or put something else in its place
            os.utime(descriptor, ns=(self._times[path], self._times[path]))
        modes = {**self._tree.closed, **self._modes}
        for path in sorted(modes, reverse=True):
            try:
                os.fchmod(self._tree.directory(path), modes[path])
            except (FileNotFoundError, NotADirectoryError):
                continue  # as above


def clean(entry: tar.Entry, name: "bytes | None" = None) -> bytes:
    """Return the entry's name (or a hard link's target) without what has no meaning; refuse `..`."""
    parts = [part for part in (entry.name if name is None else name).split(b"/") if part not in (b"", b".")]
    if b".." in parts:
        raise entry.wrong("a name with '..'")
    path = b"/".join(parts)
    if len(path) >= _MAXIMUM_PATH:
        raise entry.wrong("a name longer than any path can be")
    if not (entry.name if name is None else name):
        raise entry.wrong("an empty name")
    return path


def _on_entry(entry: tar.Entry, error: OSError) -> Error:
    """Name the entry: the system call only knew the last part of its path, or nothing."""
    text = f"layer: {show(entry.name)}: {error.strerror or reason(error)}"
    if error.errno in (errno.EPERM, errno.EINVAL):  # EINVAL: an id that the user namespace does not map
        text += f": cannot give it to {entry.uid}:{entry.gid}; more ids may be needed in /etc/subuid and /etc/subgid"
    return translate(text, error)


def _write(descriptor: int, pieces: "Iterator[memoryview]") -> None:
    for piece in pieces:
        while piece:
            piece = piece[os.write(descriptor, piece) :]


def _write_sparse(descriptor: int, size: int, parts: "list[tuple[int, int]]", pieces: "Iterator[memoryview]") -> None:
    os.ftruncate(descriptor, size)
    piece = memoryview(b"")
    for offset, length in parts:
        while length:
            piece = piece or next(pieces)
            written = os.pwrite(descriptor, piece[:length], offset)
            offset, length, piece = offset + written, length - written, piece[written:]


def _listxattr(descriptor: int) -> "list[str]":
    try:
        return os.listxattr(descriptor)
    except OSError:
        return []  # a file system without extended attributes


def _is_kept(name: bytes) -> bool:
    return name.startswith(_KEPT_XATTRS) and not name.startswith(_DROPPED_XATTRS)
