"""The device nodes and links of /dev, and the terminal that is /dev/console."""

import os
import stat

from pyrun.errors import Error
from pyrun.rootfs.mounts import bind_over
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.linux import Device

# config-linux.md#default-devices; all are character devices, and everybody may read and write them.
DEFAULT_DEVICES = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}

# config-linux.md#dev-symbolic-links
LINKS = {
    "/dev/fd": "/proc/self/fd",
    "/dev/stdin": "/proc/self/fd/0",
    "/dev/stdout": "/proc/self/fd/1",
    "/dev/stderr": "/proc/self/fd/2",
}

_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class Node:
    """A device node to be made: `mode` with the type, as mknod(2) has it."""

    def __init__(self, path: str, mode: int, number: int, uid: int = 0, gid: int = 0) -> None:
        self.path = path
        self.mode = mode
        self.number = number
        self.uid = uid
        self.gid = gid


def nodes(devices: "list[Device]") -> "list[Node]":
    """Return the default devices, but for those that the config has its own of, and the config's."""
    wanted = {os.path.normpath(device.path) for device in devices}
    found = [
        Node(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        for path, (major, minor) in DEFAULT_DEVICES.items()
        if path not in wanted
    ]
    for device in devices:
        number = 0 if device.type == "p" else os.makedev(device.major, device.minor)
        found.append(Node(device.path, _TYPES[device.type] | device.file_mode, number, device.uid, device.gid))
    return found


def make_devices(tree: Tree, devices: "list[Device]", bind: bool) -> None:
    """Make the default devices and those of the config; `bind` binds the host's, where mknod(2) is not allowed.

    Must run with an umask of 0.
    """
    for node in nodes(devices):
        _make(tree, node, bind)


def _make(tree: Tree, node: Node, bind: bool) -> None:
    path = node.path
    if bind:
        return _bind(tree, path)
    parent, name = tree.open_parent(path)
    try:
        try:
            os.mknod(name, node.mode, node.number, dir_fd=parent)
        except FileExistsError:
            _check_same(node, os.stat(name, dir_fd=parent, follow_symlinks=False))
            return None
        except PermissionError:  # a user namespace, or a device cgroup around us
            return _bind(tree, path)
        if node.uid or node.gid:
            os.chown(name, node.uid, node.gid, dir_fd=parent, follow_symlinks=False)
    finally:
        os.close(parent)
    return None


def _check_same(node: Node, found: os.stat_result) -> None:
    """config-linux.md#devices: "if a file already exists at path that does not match ... the runtime MUST error"."""
    if stat.S_IFMT(found.st_mode) != stat.S_IFMT(node.mode) or (node.number and found.st_rdev != node.number):
        raise Error(f"{node.path}: exists in the root file system and is another file than the device asked for")


def _bind(tree: Tree, path: str) -> None:
    host = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        target = tree.make_file(path)
        try:
            os.close(bind_over(host, target))
        finally:
            os.close(target)
    finally:
        os.close(host)


def links(own_pts: bool) -> "dict[str, str]":
    """Return /dev/fd and its kin, and /dev/ptmx where the container has a devpts of its own."""
    found = dict(LINKS)
    if os.path.exists("/proc/kcore"):
        found["/dev/core"] = "/proc/kcore"
    if own_pts:
        found["/dev/ptmx"] = "pts/ptmx"
    return found


def make_links(tree: Tree, own_pts: bool) -> None:
    for path, target in links(own_pts).items():
        parent, name = tree.open_parent(path)
        try:
            if path == "/dev/ptmx":
                _remove(name, parent)  # an image's own node would be the host's devpts
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            pass  # the image's own: runc and crun leave it too
        finally:
            os.close(parent)


def _remove(name: bytes, parent: int) -> None:
    try:
        os.unlink(name, dir_fd=parent)
    except FileNotFoundError:
        pass  # nothing to remove


def bind_console(tree: Tree, slave: int) -> None:
    """Bind the terminal over /dev/console, which is made where it is missing."""
    target = tree.make_file("/dev/console")
    try:
        os.close(bind_over(slave, target))
    finally:
        os.close(target)
