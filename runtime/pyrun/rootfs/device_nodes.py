"""The device nodes that a container is to have in /dev."""

import _stat as stat

from foundation.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Container

    from pyrun.config.linux import Device


# config-linux.md#default-devices; all are character devices with mode 0666.
DEFAULT_DEVICES = {
    "/dev/null": (1, 3),
    "/dev/zero": (1, 5),
    "/dev/full": (1, 7),
    "/dev/random": (1, 8),
    "/dev/urandom": (1, 9),
    "/dev/tty": (5, 0),
}
_TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}


class Node:
    """A device node to be made; `mode` includes the file type, as in mknod(2)."""

    def __init__(self, path: str, mode: int, number: int, uid: int = 0, gid: int = 0) -> None:
        self.path = path
        self.mode = mode
        self.number = number
        self.uid = uid
        self.gid = gid

    def __str__(self) -> str:
        return f"{stat.filemode(self.mode)[0]} {os.major(self.number)}:{os.minor(self.number)}"

    def is_same(self, found: os.stat_result) -> bool:
        """Return whether `found` is a node of the same type and number."""
        same_type = stat.S_IFMT(found.st_mode) == stat.S_IFMT(self.mode)
        return same_type and (stat.S_ISFIFO(self.mode) or found.st_rdev == self.number)


def nodes(devices: "list[Device]", mounted: "Container[str]" = ()) -> "list[Node]":
    """Return the devices of the config, and the default devices at all other paths.

    A path in `mounted` gets no device: what config.json mounts there stays, as with runc and crun.
    """
    wanted = {os.path.normpath(device.path) for device in devices}
    found = [
        Node(path, stat.S_IFCHR | 0o666, os.makedev(major, minor))
        for path, (major, minor) in DEFAULT_DEVICES.items()
        if path not in wanted
    ]
    for device in devices:
        number = 0 if device.type == "p" else os.makedev(device.major, device.minor)
        found.append(Node(device.path, _TYPES[device.type] | device.file_mode, number, device.uid, device.gid))
    return [node for node in found if os.path.normpath(node.path) not in mounted]
