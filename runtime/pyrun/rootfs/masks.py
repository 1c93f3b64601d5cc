"""Masked and read-only paths."""

import _stat as stat

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.mount import MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSUID, MOUNT_ATTR_RDONLY, move_mount
from pyrun.rootfs.mounts import bind_over, label_option, new_filesystem
from pyrun.rootfs.tree import Tree


def mask(tree: Tree, paths: "list[str]", label: str) -> None:
    """Hide each of `paths` that exists: a file by the host's /dev/null, a directory by an empty read-only tmpfs.

    `label` is the SELinux label of the tmpfs, or "". Must run in the container's mount namespace, before pivot_root.
    """
    null = _host_null()
    empty = -1  # one tmpfs is bound over all directories
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
                raise Error(f"can't mask path {path}: {reason(error)}") from error
            finally:
                os.close(target)
    finally:
        os.close(null)
        if empty >= 0:
            os.close(empty)


def make_read_only(tree: Tree, paths: "list[str]") -> None:
    """Bind each of `paths` that exists over itself, read-only. Must run in the container's mount namespace."""
    for path in dict.fromkeys(paths):
        target = _open_existing(tree, path)
        if target < 0:
            continue
        try:
            os.close(bind_over(target, target, read_only=True, recursive=True))
        except OSError as error:
            raise Error(f"can't make {path} read-only: {reason(error)}") from error
        finally:
            os.close(target)


def _open_existing(tree: Tree, path: str) -> int:
    try:
        return tree.open(path)
    except (FileNotFoundError, NotADirectoryError):
        return -1  # there is nothing to protect: kernels differ in the files of /proc and /sys


def _host_null() -> int:
    """Open the host's /dev/null and check its device number: otherwise an attacker could choose the file that is bound
    over a masked path (CVE-2025-31133)."""
    fd = os.open("/dev/null", os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    found = os.fstat(fd)
    if not stat.S_ISCHR(found.st_mode) or found.st_rdev != os.makedev(1, 3):
        raise Error("/dev/null of the host is not the null device (1:3)")
    return fd


def _empty_directory(label: str) -> int:
    attributes = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC
    data = [("nr_inodes", "1"), ("mode", "555"), *label_option(label)]
    return new_filesystem("tmpfs", "tmpfs", attributes, [], data)
