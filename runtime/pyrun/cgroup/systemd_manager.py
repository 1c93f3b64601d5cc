"""The calls to systemd's manager that start, change and stop a unit: org.freedesktop.systemd1(5).

We connect to systemd's private socket, or else to the message bus; without root, to the systemd of the user.
"""

from foundation.errors import Error
from foundation.linux import os
from foundation.rootless import rootless
from pyrun.cgroup.dbus import CallError, Connection

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.unit_properties import Property

_BUS = "org.freedesktop.DBus"
_SERVICE = "org.freedesktop.systemd1"
_OBJECT = "/org/freedesktop/systemd1"
_MANAGER = "org.freedesktop.systemd1.Manager"
_UNIT_EXISTS = "org.freedesktop.systemd1.UnitExists"
_NO_SUCH_UNIT = "org.freedesktop.systemd1.NoSuchUnit"
_MATCH = f"type='signal',interface='{_MANAGER}',member='JobRemoved'"


class Manager:
    """A connection to systemd's manager: the system's, or without root the user's. Raises Error if none answers."""

    def __init__(self) -> None:
        directory = os.environment.get("XDG_RUNTIME_DIR", "") if rootless() else "/run"
        addresses = [(f"{directory}/systemd/private", False)]
        addresses.append((f"{directory}/bus" if rootless() else "/run/dbus/system_bus_socket", True))
        for path, bus in addresses:
            try:
                self._connection = Connection(path, bus)
            except OSError as error:
                last = error
                continue
            if bus:  # on its private socket systemd sends all signals without a subscription
                self._connection.call(_BUS, "/org/freedesktop/DBus", _BUS, "AddMatch", "s", _MATCH)
                self._call("Subscribe")
            return
        who = "of this user (XDG_RUNTIME_DIR says where)" if rootless() else "of this machine"
        raise Error(f"--systemd-cgroup: the systemd {who} does not answer at {path}: {last.strerror}")

    def _call(self, member: str, signature: str = "", *arguments: "Any") -> "list[Any]":
        return self._connection.call(_SERVICE, _OBJECT, _MANAGER, member, signature, *arguments)

    def control_group(self) -> str:
        """Return the path of the cgroup that this systemd manages, "" for the root."""
        arguments = (_MANAGER, "ControlGroup")
        values = self._connection.call(_SERVICE, _OBJECT, "org.freedesktop.DBus.Properties", "Get", "ss", *arguments)
        path: str = values[0][1]
        return path.rstrip("/")

    def start(self, unit: str, properties: "list[Property]") -> None:
        """Start the transient unit, and wait until it is started. Raises Error."""
        try:
            self._start(unit, properties)
        except CallError as error:
            if error.name != _UNIT_EXISTS:
                raise Error(f"systemd: cannot start {unit}: {error}") from error
            # systemd keeps failed units for inspection. Forget such a unit; one that is in use stays, and fails again.
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
        """Set properties until the unit ends (--runtime). Raises Error that names them."""
        try:
            self._call("SetUnitProperties", "sba(sv)", unit, True, properties)
        except CallError as error:
            raise Error(
                f"systemd: cannot set {', '.join(name for name, _ in properties)} of {unit}: {error}"
            ) from error

    def stop(self, unit: str) -> None:
        """Stop and forget `unit`. It may already be gone: systemd ends a scope when its last process ends."""
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
