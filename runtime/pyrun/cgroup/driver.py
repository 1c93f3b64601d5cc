"""Making and limiting the cgroup of a container, by the cgroup file system alone (runc's cgroupfs driver).

systemd.py has the other driver: there, systemd makes the cgroup.
"""

from foundation import interrupts
from foundation.linux import os, whole_file
from pyrun.cgroup import creation, hierarchies
from pyrun.cgroup import resources as limits
from pyrun.cgroup.controller import nearest_existing
from pyrun.cgroup.group import Cgroup
from pyrun.errors import ConfigError

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from pyrun.cgroup.device_rules import Rule
    from pyrun.config.linux import Resources


def locate(cgroups_path: str, container_id: str) -> "Driver":
    """Return the cgroup that linux.cgroupsPath names, in every mounted hierarchy. Creates nothing.

    Raises ConfigError for a bad path, Error if no cgroup file system is mounted.
    """
    return Driver(hierarchies.directories(cgroups_path, container_id))


class Driver(Cgroup):
    """A cgroup that is made for a container, or whose limits are changed. `unit` is a systemd scope's name.

    made_around_init    whether adopt() makes it, so that the init cannot be cloned into it
    """

    unit = ""
    made_around_init = False

    def __init__(self, paths: "dict[str, str]") -> None:
        super().__init__(paths)
        self._made: list[str] = []

    def check(self, resources: "Resources") -> None:
        """Raise ConfigError that names the first limit which the controllers of this machine lack. Changes nothing."""
        limits.check(self, resources)

    def forget_forbidden(self) -> None:
        """Remove from `paths` the hierarchies in which we may not make the cgroup."""
        may_make = {path for path in self.paths.values() if os.access(nearest_existing(path), os.W_OK)}
        self.paths = {controller: path for controller, path in self.paths.items() if path in may_make}

    def refuse_in_use(self) -> None:
        """Raise ConfigError if the cgroup has processes or is frozen, so that the container could not start in it."""
        processes = self.processes()
        if processes:
            raise ConfigError(
                f"config.json: linux.cgroupsPath: container's cgroup is not empty: {len(processes)} process(es) found "
                f"in {self.directories[0]}"
            )
        if self.frozen():
            raise ConfigError(
                f"config.json: linux.cgroupsPath: container's cgroup unexpectedly frozen: {self.directories[0]}"
            )

    def create_v2(self) -> None:
        """Make the cgroup in the v2 hierarchy."""
        self._create([name for name in self.paths if name == ""])

    def create_v1(self) -> None:
        """Make the cgroup in the v1 hierarchies. The init can meanwhile be cloned into the v2 cgroup."""
        self._create([name for name in self.paths if name != ""])

    def _create(self, controllers: "list[str]") -> None:
        mask = interrupts.hold()  # an interruption between mkdir(2) and the note of it would leave the directory
        try:
            for controller in controllers:
                creation.create(controller, self.paths[controller], self._made)
        finally:
            interrupts.release(mask)

    def adopt(self, pid: int, resources: "Resources") -> None:
        """Move the init into the cgroup. It does nothing here: the init was cloned into the cgroup, or joins itself."""

    def apply(self, resources: "Resources", memory: bool = True, devices: bool = True) -> None:
        """Write the limits.

        `memory=False` leaves the memory limits to limit_memory(), unless the init joins late (memory_joins).  `update`
        passes `devices=False`: its resources do not contain the device rules of the running container.
        """
        limits.apply(self, resources, memory, devices)

    def limit_memory(self, resources: "Resources") -> None:
        """Write the memory limits that apply(memory=False) skipped: on v2 Python's own memory is charged to the
        container until execve(2)."""
        limits.limit_memory(self, resources)

    def announce(self, rules: "list[Rule]") -> None:
        """Report new device rules to systemd if it also applies them (Scope); it does nothing here."""

    def own(self, uid: int) -> None:
        """Give the v2 cgroup to `uid`, who may then make cgroups in it but not change its limits; -1: do nothing.

        config-linux.md#cgroup-ownership: this changes the owner of the directory and of the files that
        /sys/kernel/cgroup/delegate lists, if they exist.  v1 cgroups are not given away: their owner could set limits.
        """
        if "" not in self.paths or uid == -1:
            return
        os.chown(self.paths[""], uid, -1)
        try:
            names = whole_file.read("/sys/kernel/cgroup/delegate").decode().split()
        except FileNotFoundError:
            names = ["cgroup.procs", "cgroup.subtree_control", "cgroup.threads"]  # no /sys: every kernel has these
        for name in names:
            try:
                os.chown(f"{self.paths['']}/{name}", uid, -1)
            except FileNotFoundError:
                pass  # it belongs to a controller that this cgroup does not have

    def undo(self) -> None:
        """Remove what create_v2() and create_v1() made, and leave directories that existed before."""
        self.remove_directories([directory for directory in self.directories if directory in self._made])
        creation.undo(self._made)


class Nowhere(Driver):
    """The container has no cgroup of its own: it stays in the caller's, and its resources are not limited."""

    def __init__(self) -> None:
        super().__init__({})

    def check(self, resources: "Resources") -> None:
        """Do nothing: no limit can be in force."""

    def apply(self, resources: "Resources", memory: bool = True, devices: bool = True) -> None:
        """Do nothing: no limit can be in force."""

    def limit_memory(self, resources: "Resources") -> None:
        """Do nothing: no limit can be in force."""
