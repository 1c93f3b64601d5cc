"""The root file system itself: prepared before the mounts, entered after them."""

import os

from pyrun.errors import Error
from pyrun.linux.mount import (
    AT_RECURSIVE,
    MNT_DETACH,
    MOUNT_ATTR_RDONLY,
    MS_MOVE,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SLAVE,
    MS_UNBINDABLE,
    OPEN_TREE_CLONE,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
    pivot_root,
    umount2,
)
from pyrun.rootfs.options import PROPAGATION
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.overlay import Overlay

_FOLLOWS_THE_HOST = ("", "slave", "rslave")  # as in runc, what is mounted there later arrives, unless told otherwise


def prepare(path: str, propagation: str, overlay: "Overlay | None" = None) -> Tree:
    """Make the root file system at `path` (absolute, without symlinks) a mount of its own and return it as a Tree,
    below the writable layer `overlay` if there is to be one.

    Must run in the new mount namespace. Nothing that is mounted from here on reaches the host's namespace; and
    pivot_root(2) refuses a new root whose parent mount is shared.
    """
    mount(None, b"/", None, MS_SLAVE | MS_REC)
    try:
        fd = overlay.mount(path) if overlay else open_tree(os.fsencode(path), OPEN_TREE_CLONE | AT_RECURSIVE)
        target = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise Error(f"invalid rootfs: {path}: {error.strerror}") from error
    if propagation not in _FOLLOWS_THE_HOST:
        mount_setattr(fd, propagation=MS_PRIVATE, recursive=propagation == "rprivate")
    move_mount(fd, target)
    os.close(target)
    return Tree(fd)


def make_read_only(tree: Tree) -> None:
    mount_setattr(tree.fd, MOUNT_ATTR_RDONLY)


def enter(tree: Tree, pivot: bool = True) -> None:
    """Make the tree this process's root, and leave no way to the old one.

    After this, "/" is the container's: nothing may be imported, and no path of the host means anything.
    """
    old_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(tree.fd)
    if pivot:
        # pivot_root(2), NOTES: with "." twice the old root comes to lie over the new one, and needs no directory.
        pivot_root(b".", b".")
        # Slave, so that the unmount below does not propagate back to the host.
        os.fchdir(old_root)
        mount(None, b".", None, MS_SLAVE | MS_REC)
        # Detach, because the old root is busy: it holds the interpreter that runs this.
        umount2(b".", MNT_DETACH)
    else:
        mount(b".", b"/", None, MS_MOVE)
        os.chroot(".")
    os.close(old_root)
    os.chdir("/")


def set_propagation(propagation: str) -> None:
    """Give "/" the propagation that would have let the container's mounts out, or kept them from being bound."""
    flags = PROPAGATION[propagation] if propagation else 0
    if flags & (MS_SHARED | MS_UNBINDABLE):
        mount(None, b"/", None, flags)
