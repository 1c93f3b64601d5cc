"""The root file system of a container without a mount namespace: its mounts are made on the host.

The root file system is first bound over itself. That mount is private, so that the mounts below it appear nowhere
else, and unmounting it at `delete` removes all of them.
"""

from errno import ENOENT

from foundation.linux import os
from foundation.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MNT_DETACH,
    MS_PRIVATE,
    OPEN_TREE_CLONE,
    UMOUNT_NOFOLLOW,
    mount_setattr,
    move_mount,
    open_tree,
    umount2,
)
from foundation.linux.mountinfo import mount_id

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def mount(path: str, note: "Callable[[int], None]") -> None:
    """Mount the directory `path` over itself, in the host's mount namespace.

    `note` is called with the mount's id (mountinfo(5)) before the mount is attached, so that it is always recorded.
    """
    target = os.open(path, _DIRECTORY)
    fd = open_tree(b"", AT_EMPTY_PATH | OPEN_TREE_CLONE | AT_RECURSIVE, dirfd=target)
    note(mount_id(fd))
    move_mount(fd, target)
    mount_setattr(fd, propagation=MS_PRIVATE, recursive=True)  # after move_mount(2), which may have made it shared
    os.close(fd)
    os.close(target)


def unmount(path: str, id_: int) -> None:
    """Unmount what mount() mounted at `path`, with all mounts below; do nothing if its id is not `id_`.

    Runs in the host's mount namespace.
    """
    try:
        fd = os.open(path, _DIRECTORY)
    except OSError as error:
        if error.errno != ENOENT:
            raise
        return
    is_there = mount_id(fd) == id_
    os.close(fd)
    if is_there:
        umount2(os.fsencode(path), MNT_DETACH | UMOUNT_NOFOLLOW)
