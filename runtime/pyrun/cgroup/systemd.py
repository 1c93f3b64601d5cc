"""The systemd cgroup driver: a container's cgroup is a scope, a unit that systemd makes and looks after.

    create   StartTransientUnit with the device rules, and the init as the process that systemd moves into the cgroup
             on v1, mkdir for the controllers that systemd does not have: cpuset, freezer, net_cls, ...
             SetUnitProperties with the limits, before they are written to the cgroup as well
    update   SetUnitProperties
    delete   rmdir, StopUnit, ResetFailedUnit

systemd must be told the limits, since it writes its own over them whenever it reloads. With any property that it is
told it applies the device rules as well: on v2 by a program that it attaches beside ours, so that a device must be
allowed by both; on v1 over ours, and after denying all devices for a moment.

systemd is asked at the socket of its own, or over the message bus; without root it is the user's own systemd. See
org.freedesktop.systemd1(5), https://systemd.io/CGROUP_DELEGATION/.
"""

import os

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.group import Cgroup
from pyrun.cgroup.setting import Setting
from pyrun.errors import ConfigError, Error, UsageError
from pyrun.linux.dbus import CallError, Connection
from pyrun.rootless import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.cgroup.devices import Rule
    from pyrun.spec.linux import Resources

    Property = tuple[str, tuple[str, Any]]  # name, (signature, value)

_BUS = "org.freedesktop.DBus"
_SERVICE = "org.freedesktop.systemd1"
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_MATCH = f"type='signal',interface='{_MANAGER}',member='JobRemoved'"


def locate(cgroups_path: str, id_: str, annotations: "dict[str, str]") -> "Scope":
    """Return the cgroup that linux.cgroupsPath, SLICE:PREFIX:NAME, names. Creates nothing, but asks systemd."""
    from pyrun.cgroup import hierarchies
    from pyrun.cgroup.unit_properties import from_annotations

    user = rootless()
    if user and list(hierarchies.mount_points()) != [""]:
        # systemd.resource-control(5), Delegate=: "Note that controller delegation to less privileged code is only safe
        # on the unified control group hierarchy", so that a user's own systemd has none on v1.
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
    scope.paths = hierarchies.locate(f"{top}{expand(slice_)}/{unit}", id_).paths
    return scope


def expand(slice_: str) -> str:
    """Return the path of a slice: each dash goes one down, systemd.slice(5): "a-b.slice" is /a.slice/a-b.slice."""
    name, dot, suffix = slice_.rpartition(".")
    if suffix != "slice" or "/" in slice_ or (name != "-" and "" in name.split("-")):
        raise ConfigError(f"config.json: linux.cgroupsPath: {slice_!r} is not the name of a slice, like system.slice")
    if name == "-":
        return ""
    parts = name.split("-")
    return "".join(f"/{'-'.join(parts[:count])}.slice" for count in range(1, len(parts) + 1))


class Scope(Cgroup):
    """The cgroup of the scope `unit`, ours if `started`; `properties` are those to make it with, beside our own, and
    `rules` tells the device rules that are in force."""

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
        return 0  # systemd moves the init into that of memory, too

    @property
    def manager(self) -> "Manager":
        if self._manager is None:
            self._manager = Manager()
        return self._manager

    def create_v2(self, optional: bool = False) -> None:
        """Nothing yet: systemd makes no scope without a process."""
        self.refuse_in_use()

    def create_v1(self, optional: bool = False) -> None:
        """Nor these: systemd would take what it finds for somebody else's."""

    def adopt(self, pid: int, resources: "Resources") -> None:
        from pyrun.cgroup.devices import in_force
        from pyrun.cgroup.unit_properties import from_rules

        self.rules = lambda: in_force(resources)
        io = "IO" if self.v2_only else "BlockIO"
        own: list[Property] = [
            ("PIDs", ("au", [pid])),
            ("Delegate", ("b", True)),
            ("DefaultDependencies", ("b", False)),  # else systemd ends it before what depends on it, at shutdown
            *((f"{what}Accounting", ("b", True)) for what in ("CPU", "Memory", io, "Tasks")),
            *from_rules(self.rules(), v1="devices" in self.paths),
        ]
        self.manager.start(self.unit, own + self.properties)  # of two that have a name, the last one counts
        self.started = True
        if not self.v2_only:
            self._create(list(self.paths), optional=False)

    def open_v2(self) -> int:
        return super().open_v2() if os.path.isdir(self.paths.get("", "")) else -1

    def apply(self, resources: "Resources", memory: bool = True, devices: bool = True) -> None:
        if not memory:
            return super().apply(resources, memory, devices)
        kept = [] if resources.cpu and resources.cpu.quota else self._quota()
        self._tell_of_running(self._limits(resources))
        super().apply(resources, memory, devices)
        for controller, setting in kept:
            setting.write(controller)

    def limit_memory(self, resources: "Resources") -> None:
        # All of them, and once: systemd writes what it is told, some of it rounded, so that ours must come after.
        properties = self._limits(resources)
        if properties:
            self.manager.set_properties(self.unit, properties)
            super().apply(resources, devices="devices" in self.paths)
        else:
            super().limit_memory(resources)

    def announce(self, rules: "list[Rule]") -> None:
        from pyrun.cgroup.unit_properties import from_rules

        kept = self._quota()
        self._tell_of_running(from_rules(rules, v1="devices" in self.paths), rules)
        for controller, setting in kept:
            setting.write(controller)

    def _quota(self) -> "list[tuple[Controller, Setting]]":
        """Return the quota that is in force: whatever systemd is told, it writes its own anew, in whole percents."""
        cpu = self.controller("cpu")
        file = "cpu.max" if cpu and cpu.v2 else "cpu.cfs_quota_us"
        return [(cpu, Setting(file, cpu.read(file).split()[0]))] if cpu and cpu.has(file) else []

    def _limits(self, resources: "Resources") -> "list[Property]":
        from pyrun.cgroup.unit_properties import from_resources

        return from_resources(self, resources)

    def _tell_of_running(self, properties: "list[Property]", rules: "list[Rule] | None" = None) -> None:
        """Set properties. On v1 the container stands still, as with runc, until its device rules are there again."""
        if not properties:
            return
        if "devices" not in self.paths:
            return self.manager.set_properties(self.unit, properties)
        from pyrun.cgroup.devices import exceptions, write

        frozen = not (self.frozen() or self.may_hold_the_caller()) and self.freeze_if_possible()
        try:
            self.manager.set_properties(self.unit, properties)
            write(Controller(self.paths["devices"], v2=False), *exceptions(rules or self.rules()))
        finally:
            if frozen:
                self.thaw()

    def remove(self, timeout: float = 10) -> None:
        if self.started:
            super().remove(timeout)
            self.manager.stop(self.unit)


class Manager:
    """The systemd that is ours to ask: the system's, or without root the user's own."""

    def __init__(self) -> None:
        directory = os.environ.get("XDG_RUNTIME_DIR", "") if rootless() else "/run"
        addresses = [(f"{directory}/systemd/private", False)]
        addresses.append((f"{directory}/bus" if rootless() else "/run/dbus/system_bus_socket", True))
        for path, bus in addresses:
            try:
                self._connection = Connection(path, bus)
            except OSError as error:
                last = error
                continue
            if bus:  # the socket of its own sends its signals to everybody there
                self._connection.call(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", _MATCH)
                self._call("Subscribe")
            return
        who = "of this user (XDG_RUNTIME_DIR says where)" if rootless() else "of this machine"
        raise Error(f"--systemd-cgroup: the systemd {who} does not answer at {path}: {last.strerror}")

    def _call(self, member: str, signature: str = "", *arguments: "Any") -> "list[Any]":
        return self._connection.call(_SERVICE, _OBJECT, _MANAGER, member, signature, *arguments)

    def control_group(self) -> str:
        """Return the cgroup that this systemd manages, "" for the root."""
        arguments = (_MANAGER, "ControlGroup")
        values = self._connection.call(_SERVICE, _OBJECT, "org.freedesktop.DBus.Properties", "Get", "ss", *arguments)
        path: str = values[0][1]
        return path.rstrip("/")

    def start(self, unit: str, properties: "list[Property]") -> None:
        try:
            self._start(unit, properties)
        except CallError as error:
            if error.name != _UNIT_EXISTS:
                raise Error(f"systemd: cannot start {unit}: {error}") from error
            # It may be one that has failed and is kept for somebody to look at; another one that is in use will stay.
            self._reset_failed(unit)
            try:
                self._start(unit, properties)
            except CallError as again:
                raise Error(f"systemd: cannot start {unit}: {again}") from again

    def _start(self, unit: str, properties: "list[Property]") -> None:
        job = self._call("StartTransientUnit", "ssa(sv)a(sa(sv))", unit, "replace", properties, [])[0]
        result = self._end_of(job)
        if result != "done":
            self._reset_failed(unit)
            raise Error(f"systemd: cannot start {unit}: {result}")

    def set_properties(self, unit: str, properties: "list[Property]") -> None:
        try:
            self._call("SetUnitProperties", "sba(sv)", unit, True, properties)
        except CallError as error:
            raise Error(
                f"systemd: cannot set {', '.join(name for name, _ in properties)} of {unit}: {error}"
            ) from error

    def stop(self, unit: str) -> None:
        """Stop and forget `unit`. It may have gone: systemd ends a scope with its last process."""
        try:
            self._end_of(self._call("StopUnit", "ss", unit, "replace")[0])
        except CallError as error:
            if error.name != _NO_SUCH_UNIT:
                raise Error(f"systemd: cannot stop {unit}: {error}") from error
        self._reset_failed(unit)

    def _reset_failed(self, unit: str) -> None:
        try:
            self._call("ResetFailedUnit", "s", unit)
        except CallError as error:
            if error.name != _NO_SUCH_UNIT:
                raise Error(f"systemd: cannot reset {unit}: {error}") from error

    def _end_of(self, job: str) -> str:
        """Wait for the end of a job and return its result: done, failed, timeout, ..."""
        while True:
            signal = self._connection.next_signal()
            if signal.member == "JobRemoved" and signal.arguments[1] == job:
                return str(signal.arguments[3])
