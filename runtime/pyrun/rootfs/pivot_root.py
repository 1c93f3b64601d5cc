"""How a process enters the container's root: pivot_root(2), or without it chroot(2)."""

from errno import EACCES, EINVAL, ENOENT, ENOTDIR

from foundation.linux import os
from foundation.linux.mount import (
    MNT_DETACH,
    MS_MOVE,
    MS_RDONLY,
    MS_REC,
    MS_SLAVE,
    UMOUNT_NOFOLLOW,
    mount,
    pivot_root,
    umount2,
)
from foundation.linux.mountinfo import mounts
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from foundation.linux.mountinfo import Mounted


def enter(tree: Tree, pivot: bool = True) -> None:
    """Make the tree this process's root, and unmount the old root: pivot_root(2), or MS_MOVE and chroot(2).

    Must run in the container's mount namespace. Afterwards "/" is the container's, so nothing may be imported and no
    path of the host is valid.
    """
    old_root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    os.fchdir(tree.fd)
    if pivot:
        # pivot_root(2), NOTES: with "." twice the old root is mounted over the new one, and needs no directory.
        pivot_root(b".", b".")
        # Slave, so that the unmount below does not propagate back to the host.
        os.fchdir(old_root)
        mount(None, b".", None, MS_SLAVE | MS_REC)
        # Detach, because the old root is busy: it holds the interpreter that runs this.
        umount2(b".", MNT_DETACH)
    else:
        seen = mounts()
        mount(b".", b"/", None, MS_MOVE)
        os.chroot(".")
        os.fchdir(old_root)
        _unmount(seen)
    os.close(old_root)
    os.chdir("/")


def change(tree: Tree) -> None:
    """chroot(2) into the tree, for a container in the host's mount namespace. A process with CAP_SYS_CHROOT can leave
    it."""
    os.fchdir(tree.fd)
    os.chroot(".")


def _unmount(seen: "list[Mounted]") -> None:
    """Unmount those of the mounts `seen` that are below the working directory, the old root. After pivot_root(2) this
    is not needed: there the old root is unmounted with all of them.

    A process in a user namespace may mount procfs or sysfs if its mount namespace has one that is not covered, even if
    that is out of reach (mount_too_revealing(), fs/namespace.c): the host's would allow it a procfs without masks.
    """
    for mounted in reversed(seen):
        path = os.fsencode(mounted.path[1:])
        if not path:
            continue  # the old root itself, which cannot be unmounted from a mount namespace
        try:
            umount2(path, MNT_DETACH | UMOUNT_NOFOLLOW)
        except OSError as error:
            if error.errno not in (EACCES, EINVAL, ENOENT, ENOTDIR):
                raise
            # It went with the mount below it, belongs to the container, or is locked (mount_namespaces(7)). EACCES: it
            # is locked, too, because this is a user namespace whose root may not search one of the directories above.
            if mounted.type in ("proc", "sysfs") and _is_there(mounted, path):
                mount(b"tmpfs", path, b"tmpfs", MS_RDONLY)


def _is_there(mounted: "Mounted", path: bytes) -> bool:
    try:
        return os.stat(path).st_dev == mounted.device
    except (FileNotFoundError, NotADirectoryError):
        return False
