"""The root of the file system: the mount that becomes it, before a process enters it (pivot_root.py) and after."""

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
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
)
from pyrun.rootfs.options import PROPAGATION
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.host import Host
    from pyrun.rootfs.overlay import Overlay

_FOLLOWS_THE_HOST = ("", "slave", "rslave")  # as in runc, later mounts of the host propagate into the container


def prepare(path: str, propagation: str, host: "Host", overlay: "Overlay | None" = None) -> Tree:
    """Make the root file system at `path` (absolute, without symlinks) a mount and return it as a Tree.

    If there is an `overlay`, its writable layer is mounted over it. Must run in the new mount namespace. "/" becomes a
    slave first, so that no later mount propagates to the host; and pivot_root(2) refuses a new root whose parent mount
    is shared.
    """
    mount(None, b"/", None, MS_SLAVE | MS_REC)
    try:
        target = host.directory(path)
        if overlay:
            fd = overlay.mount(path, host)
        else:
            fd = open_tree(b"", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE, dirfd=target)
    except OSError as error:
        raise Error(f"invalid rootfs: {path}: {error.strerror}") from error
    if propagation not in _FOLLOWS_THE_HOST:
        mount_setattr(fd, propagation=MS_PRIVATE, recursive=propagation == "rprivate")
    move_mount(fd, target)
    os.close(target)
    return Tree(fd)


def make_read_only(tree: Tree) -> None:
    """Make the root mount read-only, but not the mounts below it (root.readonly)."""
    mount_setattr(tree.fd, MOUNT_ATTR_RDONLY)


def set_propagation(propagation: str) -> None:
    """Apply shared or unbindable to "/". This comes last: earlier, the container's mounts would have propagated to the
    host, or could not have been bound."""
    flags = PROPAGATION[propagation] if propagation else 0
    if flags & (MS_SHARED | MS_UNBINDABLE):
        mount(None, b"/", None, flags)
