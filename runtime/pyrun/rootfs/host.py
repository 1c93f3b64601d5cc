"""What the container gets from the host: directories, sources of bind mounts, devices.

The init opens them itself; with a user namespace, whose root may not reach them, launch/opener.py opens them for it.
"""

import _stat as stat
from errno import EINVAL, EPERM

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    MOUNT_ATTR_IDMAP,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from foundation.linux.opened import opened
from pyrun.rootfs.planned_mount import PlannedMount, describe

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.device_nodes import Node

# mount_setattr(2), ERRORS
_NO_IDMAP = {
    EPERM: "it needs root, and a source that is not already mapped",
    EINVAL: "its file system does not support it",
}


class Host:
    """Opens files of the host while "/" is the host's. The caller closes every descriptor that a method returns.

    contexts           mounts of procfs whose fs context (fsopen(2)) another process had to open, and these contexts
    user_namespaces    mounts with mapped ids, and the user namespaces for MOUNT_ATTR_IDMAP
    sources            detached mounts that an engine has opened, by their source and destination in config.json
    """

    def __init__(self) -> None:
        self.contexts: dict[PlannedMount, int] = {}
        self.user_namespaces: dict[PlannedMount, int] = {}
        self.sources: dict[tuple[str, str], int] = {}

    def begin(self) -> None:
        """The init calls this before all other methods."""

    def end(self) -> None:
        """The init calls this after all other methods."""

    def directory(self, path: str) -> int:
        """Open a directory (O_PATH)."""
        return os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)

    def source(self, planned: PlannedMount) -> int:
        """Return a detached mount of the source of a bind mount."""
        opened_before = self.sources.get((planned.source, planned.destination), -1)
        if opened_before >= 0:
            return opened_before
        return open_source(planned, self.user_namespaces.get(planned, -1))

    def link(self, planned: PlannedMount) -> int:
        """Open the source of a bind mount (O_PATH) without following a symlink."""
        return os.open(planned.source, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)

    def layers(self, value: str) -> str:
        """Return the directories "A:B" of an option of overlayfs as paths that the init can open."""
        return value

    def device(self, node: "Node") -> int:
        """Return a detached mount of the host's device `node`; raise Error if the host does not have it."""
        fd = self.find_device(node)
        if fd < 0:
            raise Error(f"{node.path}: the host has no such device there, and a user namespace can make none: {node}")
        return fd

    def find_device(self, node: "Node") -> int:
        """Return a detached mount of `node`, or -1 if that device is neither at its path nor at /dev/char/MAJOR:MINOR
        (/dev/block/MAJOR:MINOR) on the host."""
        kind = "block" if stat.S_ISBLK(node.mode) else "char"
        for path in (node.path, f"/dev/{kind}/{os.major(node.number)}:{os.minor(node.number)}"):
            try:
                fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
            except (FileNotFoundError, NotADirectoryError):
                continue
            with opened(fd):
                if node.is_same(os.fstat(fd)):
                    return open_tree(b"", AT_EMPTY_PATH | OPEN_TREE_CLONE, dirfd=fd)
        return -1


def open_source(planned: PlannedMount, user_namespace: int = -1) -> int:
    """Return a detached mount of the source of the bind mount `planned`, with its ids mapped as in `user_namespace`.

    Must run while the path leads to the host. The caller closes the descriptor.
    """
    try:
        flags = AT_RECURSIVE if planned.options.bind else 0
        if not planned.options.follows_source:
            flags |= AT_SYMLINK_NOFOLLOW
        fd = open_tree(os.fsencode(planned.source), OPEN_TREE_CLONE | flags)
    except OSError as error:
        raise Error(f"{describe(planned)}: {planned.source}: {error.strerror}") from error
    if user_namespace >= 0:
        _map_ids(planned, fd, user_namespace)
    return fd


def _map_ids(planned: PlannedMount, fd: int, user_namespace: int) -> None:
    try:
        recursive = bool(planned.options.idmap)
        mount_setattr(fd, MOUNT_ATTR_IDMAP, recursive=recursive, userns_fd=user_namespace)
    except OSError as error:
        why = _NO_IDMAP.get(error.errno or 0) or error.strerror
        raise Error(f"{describe(planned)}: cannot map its ids: {why}") from error
