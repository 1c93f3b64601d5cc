"""Masked and read-only paths."""

import os
import stat

from pyrun.errors import Error
from pyrun.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, move_mount
from pyrun.rootfs.mounts import bind_over, label_option, new_filesystem
from pyrun.rootfs.tree import Tree


def mask(tree: Tree, paths: "list[str]", label: str) -> None:
    """Hide each of `paths` that exists: a file behind /dev/null, a directory behind an empty read-only one, which has
    the SELinux label `label` (or "")."""
    null = _host_null()
    empty = -1  # one tmpfs for all directories
    try:
        for path in dict.fromkeys(paths):
            target = _open_existing(tree, path)
            if target < 0:
                continue
            try:
                if not stat.S_ISDIR(os.fstat(target).st_mode):
                    os.close(bind_over(null, target))
                elif empty < 0:
                    empty = _empty_directory(label)
                    move_mount(empty, target)
                else:
                    os.close(bind_over(empty, target))
            except OSError as error:
                raise Error(f"can't mask path {path}: {error.strerror}") from error
            finally:
                os.close(target)
    finally:
        os.close(null)
        if empty >= 0:
            os.close(empty)


def make_read_only(tree: Tree, paths: "list[str]") -> None:
    """Bind each of `paths` that exists over itself, read-only."""
    for path in dict.fromkeys(paths):
        target = _open_existing(tree, path)
        if target < 0:
            continue
        try:
            os.close(bind_over(target, target, read_only=True, recursive=True))
        except OSError as error:
            raise Error(f"can't make {path} read-only: {error.strerror}") from error
        finally:
            os.close(target)


def _open_existing(tree: Tree, path: str) -> int:
    try:
        return tree.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1  # nothing there to protect: kernels differ in what /proc and /sys have


def _host_null() -> int:
    """Open the host's /dev/null, and be sure of it: what is bound over a secret must not be another file of the
    attacker's choice (CVE-2025-31133)."""
    fd = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
        raise Error("/dev/null of the host is not the null device (1:3)")
    return fd


def _empty_directory(label: str) -> int:
    attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    data = [("nr_inodes", "1"), ("mode", "555"), *label_option(label)]
    return new_filesystem("tmpfs", "tmpfs", attributes, [], data)
