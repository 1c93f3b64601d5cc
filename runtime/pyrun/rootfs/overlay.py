"""A writable layer (overlayfs) over the root file system, which itself does not change: `run --overlay`.

It is mounted only in the container's mount namespace and disappears with that, so nothing has to be cleaned up after a
crash. A layer that is to be kept is in `upper` of a directory; the kernel requires a `work` directory beside it.
"""

import _stat as stat
from errno import EINVAL

from foundation import interrupts, overlayfs
from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.mount import move_mount
from foundation.linux.opened import opened
from foundation.rootless import rootless
from pyrun.rootfs.mounts import MAXIMUM_VALUE, label_option, new_filesystem
from pyrun.rootfs.tree import descriptor_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.linux import Linux
    from pyrun.rootfs.host import Host

_LAYERS = ("upper", "work")


class Overlay:
    """A layer in memory (tmpfs), or in `directory` if that is not "". Raises Error if it overlaps `rootfs`.

    It covers the directories `layers`, the lowest first, or `rootfs` if there are none.
    """

    def __init__(self, directory: str, rootfs: str, linux: "Linux", layers: "list[str]") -> None:
        real = os.path.realpath(directory) if directory else ""
        if real and (f"{real}/".startswith(f"{rootfs}/") or f"{rootfs}/".startswith(f"{real}/")):
            raise Error(f"--overlay={directory}: neither may be in the other: the root file system is {rootfs}")
        self.directory = directory
        self._layers = layers
        self._owner = linux.host_uid(0), linux.host_gid(0)
        self._in_user_namespace = linux.namespace("user") is not None
        self._label = label_option(linux.mount_label)
        self._made: list[str] = []

    def make(self) -> None:
        """Make the directories that are kept, owned by the container's root. The runtime calls it, on the host."""
        if not self.directory:
            return
        above = self.directory
        missing: list[str] = []
        while not os.path.isdir(above):
            missing.insert(0, above)
            above = os.path.dirname(above)
        for path in [*missing, *(f"{self.directory}/{name}" for name in _LAYERS)]:
            private = path.startswith(self.directory)
            mask = interrupts.hold()  # an interruption between mkdir(2) and the note of it would leave the directory
            try:
                os.mkdir(path, 0o700 if private else 0o755)
                self._made.append(path)
            except FileExistsError:
                continue  # it is left from an earlier run, or another runtime has just made it
            finally:
                interrupts.release(mask)
            if private and self._in_user_namespace:
                os.chown(path, *self._owner)
        self._hide()

    def _hide(self) -> None:
        """Keep the host's users out of the directory: the container's root can put set-user-ID root programs there.

        A directory with other files in it may belong to somebody else, so its mode is not changed: raise Error.
        """
        if not os.stat(self.directory).st_mode & 0o077:
            return
        if not set(os.listdir(self.directory)) <= set(_LAYERS):
            raise Error(
                f"--overlay={self.directory}: others may enter it, and could run set-user-ID files of the container "
                f"there: chmod 700 {self.directory}, or name another directory"
            )
        os.chmod(self.directory, 0o700)

    def undo(self) -> None:
        """Remove the directories that make() made."""
        for path in reversed(self._made):
            os.rmdir(path)

    def mount(self, path: str, host: "Host") -> int:
        """Return a detached mount of the layer over the directory `path`, and cover `path` with a tmpfs.

        The layers are named by /proc/self/fd paths: so the container's mountinfo shows no path of the host, and the
        covered directory can still be named. Must run in the container's mount namespace; the caller closes the result.
        """
        lower = host.directory(path)
        cover = new_filesystem("tmpfs", "tmpfs", 0, [], [("mode", "700"), *self._label])
        opened = [lower, cover]
        try:
            opened += [host.directory(layer) for layer in reversed(self._layers)]
            layers = opened[2:] or [lower]
            opened += self._open(host) if self.directory else _make_in(cover)
            move_mount(cover, lower)
            _take_attributes(layers[0], opened[-2])
            return self._new(path, layers, *opened[-2:])
        finally:
            for fd in opened:
                os.close(fd)

    def _open(self, host: "Host") -> "list[int]":
        try:
            return [host.directory(f"{self.directory}/{name}") for name in _LAYERS]
        except OSError as error:
            raise Error(f"--overlay={self.directory}: {error.strerror}: the container's root must reach it") from error

    def _new(self, path: str, layers: "list[int]", upper: int, work: int) -> int:
        """Return the mount. `layers` begins with the highest one."""
        data: list[tuple[str, str | None]] = [
            (key, os.fsdecode(descriptor_path(fd))) for key, fd in (("upperdir", upper), ("workdir", work))
        ]
        if self._layers:
            return self._stack(path, layers, data)
        return self._create(path, [("lowerdir", os.fsdecode(descriptor_path(layers[0]))), *data])

    def _stack(self, path: str, layers: "list[int]", data: "list[tuple[str, str | None]]") -> int:
        """One value of fsconfig(2) has room for some 80 names. Since Linux 6.5 each of up to 500 is taken by itself."""
        names = ":".join(map(str, layers))
        is_short = len(names) <= MAXIMUM_VALUE
        lower: list[tuple[str, str | None]] = [("lowerdir", names)]
        if not is_short:
            lower = [("lowerdir+", str(layer)) for layer in layers]
        here = os.open(".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.chdir("/proc/self/fd")  # short names: the kernel follows them before the mount is made
            return self._create(path, [*lower, *data])
        except Error as error:
            raise error if is_short else Error(f"{error}: {len(layers)} layers take Linux 6.5") from error
        finally:
            os.fchdir(here)
            os.close(here)

    def _create(self, path: str, data: "list[tuple[str, str | None]]") -> int:
        if self._in_user_namespace or rootless():
            data.append((overlayfs.OPTION, None))
        try:
            return new_filesystem("overlay", "overlay", 0, [], data + self._label)
        except OSError as error:
            cause = ": its layer cannot be on another overlay: --overlay=DIR elsewhere" if error.errno == EINVAL else ""
            raise Error(f"--overlay: cannot mount a layer over {path}: {reason(error)}{cause}") from error


def _make_in(cover: int) -> "list[int]":
    for name in _LAYERS:
        os.mkdir(name, 0o700, dir_fd=cover)
    return [os.open(name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=cover) for name in _LAYERS]


def _take_attributes(lower: int, layer: int) -> None:
    """Give the layer's root the owner and mode of the root below: the merged directory shows the upper layer's."""
    found = os.stat(lower)
    with opened(os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=layer)) as upper:
        os.fchown(upper, found.st_uid, found.st_gid)
        os.fchmod(upper, stat.S_IMODE(found.st_mode))
