"""The device nodes and symlinks in /dev, and the terminal at /dev/console."""

import _stat as stat

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.opened import opened
from pyrun.rootfs.device_nodes import Node
from pyrun.rootfs.mounts import attach_to, bind_over
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from pyrun.rootfs.host import Host


# config-linux.md#dev-symbolic-links
LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}


def make_devices(tree: Tree, nodes: "list[Node]", host: "Host", bind: bool) -> None:
    """Make `nodes`. With `bind`, bind the host's devices instead: a user namespace does not allow mknod(2).

    Must run in the container's mount namespace, with an umask of 0. Raises Error if another file exists at a path.
    """
    for node in nodes:
        if bind and not stat.S_ISFIFO(node.mode):
            _bind(tree, node, host)
        else:
            _make(tree, node, host)


def _make(tree: Tree, node: Node, host: "Host") -> None:
    parent, name = tree.open_parent(node.path)
    with opened(parent):
        try:
            os.mknod(name, node.mode, node.number, dir_fd=parent)
        except FileExistsError:
            _check_same(node, os.stat(name, dir_fd=parent, follow_symlinks=False))
            return
        except PermissionError:  # the device cgroup that the runtime itself is in forbids it
            return _bind(tree, node, host)
        if node.uid or node.gid:
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)


def _check_same(node: Node, found: os.stat_result) -> None:
    """config-linux.md#devices: "if a file already exists at path that does not match ... the runtime MUST error"."""
    if not node.is_same(found):
        raise Error(f"{node.path}: exists in the root file system and is another file than the device asked for")


def _bind(tree: Tree, node: Node, host: "Host") -> None:
    with opened(host.device(node)) as copy:
        attach_to(tree.make_file(node.path), copy)


def links(own_pts: bool, mounted: "Container[str]" = ()) -> "dict[str, str]":
    """Return the symlinks of /dev (path -> target), with /dev/ptmx if the container has its own devpts.

    A path in `mounted` gets no symlink: what config.json mounts there stays.
    """
    found = dict(LINKS)
    if os.path.exists("/proc/kcore"):
        found["/dev/core"] = "/proc/kcore"
    if own_pts:
        found["/dev/ptmx"] = "pts/ptmx"
    return {path: target for path, target in found.items() if path not in mounted}


def make_links(tree: Tree, links: "dict[str, str]") -> None:
    """Make the symlinks `links` (path -> target) of links(). Must run in the container's mount namespace."""
    for path, target in links.items():
        parent, name = tree.open_parent(path)
        try:
            if path == "/dev/ptmx":
                _remove(name, parent)  # a device node of the image would lead to the host's devpts
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            pass  # the image has a file there, which runc and crun leave, too
        finally:
            os.close(parent)


def _remove(name: bytes, parent: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass  # nothing to remove


def bind_console(tree: Tree, slave: int) -> None:
    """Bind the terminal over /dev/console, which is created if it is missing. The caller closes `slave`."""
    with opened(tree.make_file("/dev/console")) as target:
        os.close(bind_over(slave, target))
