"""A writable layer over the root file system (overlayfs), which itself stays as it is: `run --overlay`.

It is mounted in the container's own mount namespace only, and goes with that: there is nothing to clean, whoever was
killed when. Where it is to be kept it is in `upper` of a directory, for which the kernel wants a `work` beside it.
"""

import os
import stat
from errno import EINVAL

from pyrun.errors import Error
from pyrun.linux.mount import move_mount
from pyrun.rootfs.mounts import label_option, new_filesystem
from pyrun.rootfs.tree import descriptor_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.linux import Linux

_LAYERS = ("upper", "work")


class Overlay:
    """A layer in the memory of the container, or with a `directory` there."""

    def __init__(self, directory: str, rootfs: str, linux: "Linux") -> None:
        real = os.path.realpath(directory) if directory else ""
        if real and (f"{real}/".startswith(f"{rootfs}/") or f"{rootfs}/".startswith(f"{real}/")):
            raise Error(f"--overlay={directory}: neither may be in the other: the root file system is {rootfs}")
        self.directory = directory
        self._owner = linux.host_uid(0)
        self._in_user_namespace = linux.namespace("user") is not None
        self._label = label_option(linux.mount_label)
        self._made: list[str] = []

    def make(self) -> None:
        """Make the directories that are kept, for the root of the container. Called by the runtime, on the host."""
        if not self.directory:
            return
        missing = self.directory
        while not os.path.isdir(missing):
            self._made.insert(0, missing)
            missing = os.path.dirname(missing)
        for path in [*self._made, *(f"{self.directory}/{name}" for name in _LAYERS)]:
            try:
                os.mkdir(path, 0o755)
            except FileExistsError:
                continue  # kept from another time, or made by another runtime
            if path not in self._made:
                self._made.append(path)
            if self._owner > 0:
                os.chown(path, self._owner, -1)

    def undo(self) -> None:
        for path in reversed(self._made):
            os.rmdir(path)

    def mount(self, path: str) -> int:
        """Return a detached mount of the layer over what is at `path`, which a tmpfs covers from now on.

        Paths of the layers are those of descriptors: no name of the host is to be read in the container's mountinfo,
        and what is covered can still be named.
        """
        lower = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        cover = new_filesystem("tmpfs", "tmpfs", 0, [], [("mode", "700"), *self._label])
        target = os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        layers = self._open(path) if self.directory else cover
        move_mount(cover, target)
        os.close(target)
        if not self.directory:
            for name in _LAYERS:
                os.mkdir(name, 0o700, dir_fd=cover)
        try:
            _take_attributes(lower, layers)
            return self._new(path, lower, layers)
        finally:
            for fd in {lower, cover, layers}:
                os.close(fd)

    def _open(self, path: str) -> int:
        try:
            return os.open(self.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            raise Error(f"--overlay={self.directory}: {error.strerror}: the container's root must reach it") from error

    def _new(self, path: str, lower: int, layers: int) -> int:
        upper, work = (descriptor_path(layers) + b"/" + name.encode() for name in _LAYERS)
        data: list[tuple[str, str | None]] = [("lowerdir", os.fsdecode(descriptor_path(lower)))]
        data += [("upperdir", os.fsdecode(upper)), ("workdir", os.fsdecode(work))]
        if self._in_user_namespace:
            data.append(("userxattr", None))  # trusted.* is for the host's root only (Linux 5.11)
        try:
            return new_filesystem("overlay", "overlay", 0, [], data + self._label)
        except OSError as error:
            cause = ": its layer cannot be on another overlay: --overlay=DIR elsewhere" if error.errno == EINVAL else ""
            raise Error(f"--overlay: cannot mount a layer over {path}: {error.strerror}{cause}") from error


def _take_attributes(lower: int, layers: int) -> None:
    """Give the layer's root the owner and the mode of what it covers: the merged root shows the layer's own."""
    found = os.stat(lower)
    upper = os.open("upper", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=layers)
    try:
        os.fchown(upper, found.st_uid, found.st_gid)
        os.fchmod(upper, stat.S_IMODE(found.st_mode))
    finally:
        os.close(upper)
