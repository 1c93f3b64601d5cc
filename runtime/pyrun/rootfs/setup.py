"""The set-up of the container's root file system, in the order in which it happens."""

from foundation.linux import os
from pyrun import log
from pyrun.rootfs import cgroups, console, devices, masks, mounts, pivot_root, root
from pyrun.rootfs.host import Host
from pyrun.rootfs.planned_mount import PlannedMount
from pyrun.rootfs.planned_root import PlannedRoot
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Process


class Root:
    """The root file system while the init sets it up. It calls these methods in the order in which they stand here.

    `host` opens what `plan` takes from the host.
    """

    tree: Tree

    def __init__(self, plan: PlannedRoot, host: Host) -> None:
        self._plan = plan
        self._host = host
        self._waiting = list(plan.mounts)

    def begin(self) -> None:
        """Make the mounts that precede the first cgroup mount. Must run in the new namespaces, with an umask of 0."""
        self._host.begin()
        if self._plan.own_mounts:
            propagation = self._plan.config.linux.rootfs_propagation
            self.tree = root.prepare(self._plan.path, propagation, self._host, self._plan.overlay)
        else:
            self.tree = Tree(self._host.directory(self._plan.path))  # mounted by the runtime (on_host.py)
        while self._waiting and not self._waiting[0].is_cgroup:
            self._mount(self._waiting.pop(0), {})

    def complete(self, cgroup_paths: "dict[str, str]") -> None:
        """Make the other mounts and the devices. Must run after the cgroups are made; `cgroup_paths` are theirs."""
        config = self._plan.config
        for planned in self._waiting:
            self._mount(planned, cgroup_paths)
        if self._plan.makes_devices:
            in_user_namespace = config.linux.namespace("user") is not None
            devices.make_devices(self.tree, self._plan.nodes, self._host, bind=in_user_namespace)
            devices.make_links(self.tree, self._plan.links)
        self._host.end()
        if config.process:
            os.close(self.tree.make_directory(config.process.cwd))

    def _mount(self, planned: PlannedMount, cgroup_paths: "dict[str, str]") -> None:
        log.debug(f"mount {planned.type or 'bind'} {planned.source} at {planned.destination}")
        if planned.is_cgroup:
            cgroups.attach(self.tree, planned, cgroup_paths)
        else:
            os.close(mounts.attach(self.tree, planned, self._host, writable=planned in self._plan.read_only_last))

    def open_terminal(self, process: "Process") -> "list[int]":
        """Return [master, slave] of the process's terminal, which the caller closes; [] if it has none.

        Must run before enter(): see console.open_terminal.
        """
        if not process.terminal:
            return []
        own_descriptors = console.open_own_descriptors()
        master, slave = console.open_terminal(self.tree, own_descriptors, process)
        os.close(own_descriptors)
        if self._plan.makes_console:
            devices.bind_console(self.tree, slave)
        return [master, slave]

    def finish(self) -> None:
        """Make read-only and mask what the createContainer hooks may still write to."""
        linux = self._plan.config.linux
        for planned in self._plan.read_only_last:
            mounts.make_read_only(self.tree, planned.destination)
        masks.make_read_only(self.tree, linux.readonly_paths)
        masks.mask(self.tree, linux.masked_paths, linux.mount_label)
        if self._plan.config.root.readonly:
            root.make_read_only(self.tree)

    def enter(self, pivot: bool) -> None:
        """Make it this process's root; nothing may be imported afterwards. `pivot` is false with --no-pivot."""
        if self._plan.own_mounts:
            pivot_root.enter(self.tree, pivot)
        else:
            pivot_root.change(self.tree)
        root.set_propagation(self._plan.config.linux.rootfs_propagation)
