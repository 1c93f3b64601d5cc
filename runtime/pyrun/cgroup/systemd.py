"""The systemd cgroup driver: a container's cgroup is a scope, a unit that systemd creates and manages.

    create   StartTransientUnit with the device rules, and the init as the process that systemd moves into the cgroup
             on v1, mkdir for the controllers that systemd does not use: cpuset, freezer, net_cls, ...
             SetUnitProperties with the limits, before they are written to the cgroup as well
    update   SetUnitProperties
    delete   rmdir, StopUnit, ResetFailedUnit

systemd must know the limits, since it overwrites those in the cgroup with its own whenever it reloads. Each time a
property is set, it applies the device rules as well: on v2 by a program that it attaches beside ours, so that both must
allow a device; on v1 it overwrites ours, and denies all devices for a moment.

systemd_manager.py makes the calls. See https://systemd.io/CGROUP_DELEGATION/.
"""

from foundation.rootless import rootless
from pyrun.cgroup import hierarchies
from pyrun.cgroup.controller import Controller
from pyrun.cgroup.device_rules import exceptions, in_force
from pyrun.cgroup.devices import write
from pyrun.cgroup.driver import Driver
from pyrun.cgroup.setting import Setting
from pyrun.cgroup.systemd_manager import Manager
from pyrun.cgroup.unit_properties import from_annotations, from_resources, from_rules
from pyrun.errors import ConfigError, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cgroup.device_rules import Rule
    from pyrun.cgroup.unit_properties import Property
    from pyrun.config.linux import Resources


def locate(cgroups_path: str, id_: str, annotations: "dict[str, str]") -> "Scope":
    """Return the cgroup that linux.cgroupsPath, SLICE:PREFIX:NAME, names. Creates nothing; without root, asks systemd.

    Raises ConfigError for a bad path or annotation, UsageError without root unless only v2 is mounted.
    """
    user = rootless()
    if user and list(hierarchies.mount_points()) != [""]:
        # systemd.resource-control(5), Delegate=: "Note that controller delegation to less privileged code is only safe
        # on the unified control group hierarchy", so the systemd of a user manages no controllers on v1.
        raise UsageError("--systemd-cgroup without root needs cgroup v2 alone: use the cgroupfs driver on this machine")
    parts = (cgroups_path or f":pyrun:{id_}").split(":")
    if len(parts) != 3 or not parts[2]:
        raise ConfigError(
            "config.json: linux.cgroupsPath: expected cgroupsPath to be of format slice:prefix:name for systemd "
            f"cgroups, got {cgroups_path!r} instead"
        )
    slice_, prefix, name = parts
    slice_ = slice_ or ("user.slice" if user else "system.slice")
    unit = f"{prefix}-{name}.scope" if prefix else f"{name}.scope"
    scope = Scope({}, unit, started=False)
    described = ("Description", ("s", f"pyrun container {id_}"))
    scope.properties = [described, ("Slice", ("s", slice_)), *from_annotations(annotations)]
    top = scope.manager.control_group() if user else ""
    scope.paths = hierarchies.directories(f"{top}{expand(slice_)}/{unit}", id_)
    return scope


def expand(slice_: str) -> str:
    """Return the path of a slice: each dash adds a level, systemd.slice(5): "a-b.slice" is /a.slice/a-b.slice."""
    name, dot, suffix = slice_.rpartition(".")
    if suffix != "slice" or "/" in slice_ or (name != "-" and "" in name.split("-")):
        raise ConfigError(f"config.json: linux.cgroupsPath: {slice_!r} is not the name of a slice, like system.slice")
    if name == "-":
        return ""
    parts = name.split("-")
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


class Scope(Driver):
    """The cgroup of a systemd scope.

    unit         the scope's name
    started      whether we created it
    properties   additional properties to create it with
    rules        returns the device rules in force
    """

    made_around_init = True

    def __init__(
        self,
        paths: "dict[str, str]",
        unit: str,
        started: bool = True,
        rules: "Callable[[], list[Rule]]" = list,
    ) -> None:
        super().__init__(paths)
        self.unit = unit
        self.started = started
        self.rules = rules
        self.properties: list[Property] = []
        self._manager: Manager | None = None

    @property
    def memory_joins(self) -> int:
        """0: systemd moves the init into the memory cgroup, too."""
        return 0

    @property
    def manager(self) -> Manager:
        """The connection to systemd, made when it is first needed."""
        if self._manager is None:
            self._manager = Manager()
        return self._manager

    def create_v2(self, optional: bool = False) -> None:
        """Do nothing: systemd creates the scope together with its first process (adopt)."""

    def create_v1(self, optional: bool = False) -> None:
        """Do nothing: systemd would treat directories that it finds as those of another program (see adopt)."""

    def adopt(self, pid: int, resources: "Resources") -> None:
        """Have systemd create the scope and move the process `pid` into it; make the other v1 cgroups."""
        self.rules = lambda: in_force(resources)
        io = "IO" if self.v2_only else "BlockIO"
        own: list[Property] = [
            ("PIDs", ("au", [pid])),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),  # else systemd stops it at shutdown before the units that need it
            *((f"{what}Accounting", ("b", True)) for what in ("CPU", "Memory", io, "Tasks")),
            *from_rules(self.rules(), v1="devices" in self.paths),
        ]
        self.manager.start(self.unit, own + self.properties)  # of two with the same name, the last one counts
        self.started = True
        if not self.v2_only:
            self._create(list(self.paths))

    def apply(self, resources: "Resources", memory: bool = True, devices: bool = True) -> None:
        """Write the limits, and for an update (`memory`) first set them as properties. Without a new CPU quota, keep
        the one in force, which systemd would round."""
        if not memory:
            return super().apply(resources, memory, devices)
        kept = [] if resources.cpu and resources.cpu.quota else self._quota()
        self._set_while_running(self._limits(resources))
        super().apply(resources, memory, devices)
        for controller, setting in kept:
            setting.write(controller)

    def limit_memory(self, resources: "Resources") -> None:
        """Set all limits as properties, and write them again."""
        # Set all properties in one call: systemd writes the limits itself, some of them rounded, so ours come after it.
        properties = self._limits(resources)
        if properties:
            self.manager.set_properties(self.unit, properties)
            super().apply(resources, devices="devices" in self.paths)
        else:
            super().limit_memory(resources)

    def announce(self, rules: "list[Rule]") -> None:
        """Set the new device rules as properties, and keep the CPU quota in force."""
        kept = self._quota()
        self._set_while_running(from_rules(rules, v1="devices" in self.paths), rules)
        for controller, setting in kept:
            setting.write(controller)

    def _quota(self) -> "list[tuple[Controller, Setting]]":
        """Return the CPU quota in force: whenever a property is set, systemd rewrites the quota in whole percents."""
        cpu = self.controller("cpu")
        file = "cpu.max" if cpu and cpu.v2 else "cpu.cfs_quota_us"
        return [(cpu, Setting(file, cpu.read(file).split()[0]))] if cpu and cpu.has(file) else []

    def _limits(self, resources: "Resources") -> "list[Property]":
        return from_resources(self, resources)

    def _set_while_running(self, properties: "list[Property]", rules: "list[Rule] | None" = None) -> None:
        """Set properties. On v1 the container is frozen, as with runc, until its device rules are written again."""
        if not properties:
            return
        if "devices" not in self.paths:
            return self.manager.set_properties(self.unit, properties)
        frozen = not (self.frozen() or self.may_hold_the_caller()) and self.freeze_if_possible()
        try:
            self.manager.set_properties(self.unit, properties)
            write(Controller(self.paths["devices"], v2=False), *exceptions(rules or self.rules()))
        finally:
            if frozen:
                self.thaw()

    def undo(self) -> None:
        """Remove the cgroup and stop the scope, if we started it."""
        self.remove()

    def remove(self, timeout: float = 10) -> None:
        """Remove the cgroup and stop the scope, if we started it; raises Error as Cgroup.remove()."""
        if self.started:
            super().remove(timeout)
            self.manager.stop(self.unit)
