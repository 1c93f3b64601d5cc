"""A container's files as its programs see them, or would see them.

Of a running container: its root, by a descriptor that leads into its mount namespace. Of another: its layers, volumes
and binds, mounted in a namespace of the worker's own. Nothing here enters the container.
"""

import stat

from foundation.linux import os
from foundation.linux.mount import (
    MOUNT_ATTR_RDONLY,
    mount,
    mount_setattr,
    move_mount,
)
from foundation.linux.openat2 import RESOLVE_IN_ROOT, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from pyfetch.bundle import overlay
from pyfetch.image.store import Store
from pyrun.rootfs.tree import Tree
from pyrund.errors import ApiError
from pyrund.launch.running import running_root
from pyrund.launch.volume_mounts import detached
from pyrund.spec.mounts import Mount, of_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from pyrund.model.container import Container

    T = TypeVar("T")

INSIDE = RESOLVE_IN_ROOT | RESOLVE_NO_MAGICLINKS
_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC


def with_root(container: "Container", is_running: bool, is_written: bool, look: "Callable[[int], T]") -> "T":
    """Call `look` with a descriptor of the container's root directory; return its result.

    Who writes to a container that does not run must have its turn: nobody else may mount its layer.
    """
    if is_running:
        with opened(running_root(container)) as root:
            return look(root)
    mounts = of_container(container)
    return _with_layers(container, is_written, lambda root: _with_mounts(container, root, mounts, look))


def with_layers(container: "Container", look: "Callable[[int], T]") -> "T":
    """The same with the container's own layers alone, without any mounts, whether it runs or not."""
    return _with_layers(container, False, look)


def _with_layers(container: "Container", is_written: bool, look: "Callable[[int], T]") -> "T":
    places = container.places
    store = Store(places.images)
    layer = places.layer(container.id)
    upper = f"{layer}/upper"

    def mount_and_look(names: "list[str]") -> "T":
        scratch = store.bundles  # any directory can be the mount point in this namespace
        lower, over, work = names[::-1], upper, f"{layer}/work"
        for path in (layer, upper, work) if is_written else ():
            os.makedirs(path, 0o700, exist_ok=True)
        mount(b"tmpfs", os.fsencode(scratch), b"tmpfs", 0, b"mode=700")
        if not is_written:  # what has to be made, such as the places of mounts, is made in memory
            lower, over, work = [*([upper] if os.path.isdir(upper) else []), *lower], f"{scratch}/up", f"{scratch}/work"
            os.mkdir(over, 0o755)
            os.mkdir(work, 0o700)
        overlay.copy_root(names[-1], over)
        os.mkdir(f"{scratch}/root", 0o755)
        overlay.mount_over(lower, over, work, f"{scratch}/root")
        with opened(os.open(f"{scratch}/root", _PATH)) as root:
            return look(root)

    return overlay.in_private_mounts(lambda: overlay.with_short_names(store, container.layers, mount_and_look))


def _with_mounts(container: "Container", root: int, mounts: "list[Mount]", look: "Callable[[int], T]") -> "T":
    for one in mounts:
        if one.kind != "tmpfs":
            _attach(Tree(root), one)
    _make_working_directory(container, Tree(root))
    if container.host_config.get("ReadonlyRootfs"):
        mount_setattr(root, MOUNT_ATTR_RDONLY)
    return look(root)


def _make_working_directory(container: "Container", tree: Tree) -> None:
    """dockerd makes it when it creates the container, this engine when the container starts, or is looked at."""
    path = container.config["WorkingDir"]
    if path:
        try:
            os.close(tree.make_directory(path))
        except OSError:
            pass  # ENOTDIR, or EROFS in a volume: start reports it, and what is there can be looked at all the same


def _attach(tree: Tree, one: Mount) -> None:
    """Raises ApiError, as start would, for a volume that cannot be mounted, or has not the part that is wanted: what a
    client sends to it must not go elsewhere."""
    if not os.path.exists(one.source):
        return  # start would make it, or refuse
    with opened(detached(one)) as source:
        make = tree.make_directory if stat.S_ISDIR(os.fstat(source).st_mode) else tree.make_file
        try:
            target = make(one.target)
        except OSError:
            return  # the root is read-only, or the image has something else there: start would fail
        with opened(target):
            move_mount(source, target)


def clean(path: str) -> str:
    """Return the client's `path` from the container's root, without "." and ".."."""
    return os.path.normpath("/" + path.lstrip("/"))


def find(root: int, path: str, name: str) -> "tuple[int, bytes]":
    """Return a descriptor of the directory of `path`, and the name in it; links on the way are followed inside.

    As with docker, a link at the end is followed if a slash or "/." follows it: the name is then ".". Raises ApiError,
    which calls the container `name`.
    """
    above, last = os.path.split(clean(path))
    if path.endswith(("/", "/.")) or not last:
        above, last = clean(path), "."
    try:
        directory = openat2(root, os.fsencode(above.lstrip("/")) or b".", _PATH, INSIDE)
        try:
            os.stat(last, dir_fd=directory, follow_symlinks=False)
        except OSError:
            os.close(directory)
            raise
        return directory, os.fsencode(last)
    except (FileNotFoundError, NotADirectoryError):
        raise ApiError(404, f"Could not find the file {path} in container {name}") from None


# How Go's FileMode has the type of a file, and the bits beside its permissions.
_TYPES = {
    stat.S_IFDIR: 1 << 31,
    stat.S_IFLNK: 1 << 27,
    stat.S_IFBLK: 1 << 26,
    stat.S_IFIFO: 1 << 25,
    stat.S_IFSOCK: 1 << 24,
    stat.S_IFCHR: 1 << 26 | 1 << 21,
}
_BITS = ((stat.S_ISUID, 1 << 23), (stat.S_ISGID, 1 << 22), (stat.S_ISVTX, 1 << 20))


def go_mode(mode: int) -> int:
    """Return st_mode as Go's FileMode."""
    bits = sum(theirs for ours, theirs in _BITS if mode & ours)
    return mode & 0o777 | _TYPES.get(stat.S_IFMT(mode), 0) | bits
