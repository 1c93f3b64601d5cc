"""The container's root file system from beginning to end, in the order in which it happens."""

import os

from pyrun import log
from pyrun.errors import Error
from pyrun.rootfs import cgroups, console, devices, masks, mounts, root
from pyrun.rootfs.mounts import PlannedMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.tree import Tree
    from pyrun.spec.config import Config, Process


class PlannedRoot:
    """The root file system that `config` asks for. Its methods run in the init, in this order."""

    tree: "Tree"

    def __init__(self, config: "Config", bundle: str, overlay: "str | None") -> None:
        self.path = _resolve(config.root.path, bundle)
        if config.linux.mount_label:
            from pyrun.confine.labels import check_mount_label

            check_mount_label(config.linux)
        self.overlay = None
        if overlay is not None:
            from pyrun.rootfs.overlay import Overlay  # few containers have one

            self.overlay = Overlay(overlay, self.path, config.linux)
        self._config = config
        self.mounts = [PlannedMount(mount, config.linux.mount_label) for mount in config.mounts]
        # What is bound over /dev brings its own devices.
        self.makes_devices = not any(mount.destination == "/dev" and mount.is_bind for mount in self.mounts)
        self.own_pts = any(mount.destination == "/dev/pts" and mount.type == "devpts" for mount in self.mounts)
        self._last = [mount for mount in self.mounts if mount.destination == "/dev" and mount.options.is_read_only]

    @property
    def procfs(self) -> "list[PlannedMount]":
        return [mount for mount in self.mounts if mount.is_procfs]

    @property
    def mapped(self) -> "list[PlannedMount]":
        return [mount for mount in self.mounts if mount.is_mapped]

    @property
    def has_writable_cgroups(self) -> bool:
        return any(mount.is_cgroup and not mount.options.is_read_only for mount in self.mounts)

    def begin(self) -> None:
        """The mounts before the first that shows cgroups. Must run in the new namespaces, with an umask of 0."""
        self.tree = root.prepare(self.path, self._config.linux.rootfs_propagation, self.overlay)
        while self.mounts and not self.mounts[0].is_cgroup:
            self._mount(self.mounts.pop(0), {})

    def complete(self, cgroup_paths: "dict[str, str]") -> None:
        """The other mounts, when the cgroups are there, and the devices."""
        config = self._config
        for planned in self.mounts:
            self._mount(planned, cgroup_paths)
        if self.makes_devices:
            in_user_namespace = config.linux.namespace("user") is not None
            devices.make_devices(self.tree, config.linux.devices, bind=in_user_namespace)
            devices.make_links(self.tree, self.own_pts)
        if config.process:
            os.close(self.tree.make_directory(config.process.cwd))

    def _mount(self, planned: PlannedMount, cgroup_paths: "dict[str, str]") -> None:
        log.debug(f"mount {planned.type or 'bind'} {planned.source} at {planned.destination}")
        if planned.is_cgroup:
            cgroups.attach(self.tree, planned, cgroup_paths)
        else:
            os.close(mounts.attach(self.tree, planned, writable=planned in self._last))

    def open_terminal(self, process: "Process") -> "list[int]":
        """Return [master, slave] of the process's terminal, [] where it has none."""
        if not process.terminal:
            return []
        own_descriptors = console.open_own_descriptors()
        master, slave = console.open_terminal(self.tree, own_descriptors)
        os.close(own_descriptors)
        if process.console_size:
            console.set_size(slave, process.console_size.height, process.console_size.width)
        devices.bind_console(self.tree, slave)
        return [master, slave]

    def finish(self) -> None:
        """Close what must stay open until the hooks have run."""
        linux = self._config.linux
        for planned in self._last:
            mounts.make_read_only(self.tree, planned.destination)
        masks.make_read_only(self.tree, linux.readonly_paths)
        masks.mask(self.tree, linux.masked_paths, linux.mount_label)
        if self._config.root.readonly:
            root.make_read_only(self.tree)

    def enter(self, pivot: bool) -> None:
        root.enter(self.tree, pivot)
        root.set_propagation(self._config.linux.rootfs_propagation)


def _resolve(path: str, bundle: str) -> str:
    """Return the absolute path of the root file system, which must be a directory, and not reached by a symlink."""
    absolute = os.path.normpath(os.path.join(bundle, path))
    if not os.path.isdir(absolute):
        problem = "is not a directory" if os.path.exists(absolute) else "does not exist"
        raise Error(f"invalid rootfs: {absolute} {problem}: root.path of config.json says where it is")
    if os.path.realpath(absolute) != absolute:
        raise Error(f"invalid rootfs: {absolute} is reached through a symbolic link: name {os.path.realpath(absolute)}")
    if absolute == "/":
        raise Error("invalid rootfs: / is the host's own root")
    return absolute
