"""The root file system that config.json asks for, checked before anything is made."""

from foundation.errors import Error
from foundation.linux import os
from pyrun.rootfs import device_nodes, devices
from pyrun.rootfs.planned_mount import PlannedMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Config


class PlannedRoot:
    """The root file system that `config` asks for. Raises Error if it cannot be had."""

    def __init__(self, config: "Config", bundle: str, overlay: "str | None", layers: "list[str]") -> None:
        self.path = _resolve(config.root.path, bundle)
        if config.linux.mount_label:
            from pyrun.confine.labels import check_mount_label  # few containers have a label

            check_mount_label(config.linux)
        self.overlay = None
        if overlay is not None:
            from pyrun.rootfs.overlay import Overlay  # few containers have one

            self.overlay = Overlay(overlay, self.path, config.linux, layers)
        self.config = config
        self.mounts = [PlannedMount(mount, config.linux.mount_label) for mount in config.mounts]
        self.own_mounts = config.linux.namespace("mount") is not None
        mounted = {mount.destination for mount in self.mounts}
        # A directory that is bound over /dev has its own devices.
        self.makes_devices = not any(mount.destination == "/dev" and mount.is_bind for mount in self.mounts)
        self.own_pts = any(mount.destination == "/dev/pts" and mount.type == "devpts" for mount in self.mounts)
        self.nodes = device_nodes.nodes(config.linux.devices, mounted)
        self.links = devices.links(self.own_pts, mounted)
        self.makes_console = "/dev/console" not in mounted
        # /dev becomes read-only when its devices are made.
        self.read_only_last = [one for one in self.mounts if one.destination == "/dev" and one.options.is_read_only]

    @property
    def procfs(self) -> "list[PlannedMount]":
        """The mounts of type proc."""
        return [mount for mount in self.mounts if mount.is_procfs]

    @property
    def mapped(self) -> "list[PlannedMount]":
        """The mounts with mapped ids, whose user namespace the runtime opens."""
        return [mount for mount in self.mounts if mount.is_mapped]

    @property
    def has_writable_cgroups(self) -> bool:
        """Whether a cgroup mount is writable, so that the container's user is to own the cgroup."""
        return any(mount.is_cgroup and not mount.options.is_read_only for mount in self.mounts)


def _resolve(path: str, bundle: str) -> str:
    """Return the absolute path of the root file system; raise Error unless it is a directory and has no symlinks."""
    absolute = os.path.normpath(os.path.join(bundle, path))
    if not os.path.isdir(absolute):
        problem = "is not a directory" if os.path.exists(absolute) else "does not exist"
        raise Error(f"invalid rootfs: {absolute} {problem}: root.path of config.json says where it is")
    if os.path.realpath(absolute) != absolute:
        raise Error(f"invalid rootfs: {absolute} is reached through a symbolic link: name {os.path.realpath(absolute)}")
    if absolute == "/":
        raise Error("invalid rootfs: / is the host's own root")
    return absolute
