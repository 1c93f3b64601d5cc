"""linux.resources.cpu: the controllers cpu and cpuset. As with Go's callers, 0 is absence."""

from math import ceil, log2

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.setting import Setting
from pyrun.spec.linux import CPU

MINIMUM_SHARES = 2
MAXIMUM_SHARES = 1 << 18


class _PeriodAlone(Setting):
    """cpu.max takes a quota alone, but a period only together with one: the one that is there."""

    def write(self, controller: Controller) -> None:
        quota = controller.read("cpu.max").split()[0]
        controller.write("cpu.max", f"{quota} {self.value}")


def settings(cpu: CPU, v2: bool) -> "list[Setting]":
    if cpu.idle not in (None, 0, 1):
        raise cpu.json.error("idle", f"{cpu.idle} is neither 0 nor 1")
    return _v2(cpu) if v2 else _v1(cpu)


def _v1(cpu: CPU) -> "list[Setting]":
    found = []
    if cpu.shares and cpu.idle != 1:  # an idle cgroup has the one weight below all others, and refuses another
        _check_shares(cpu)
        found.append(Setting("cpu.shares", cpu.shares))
    for file, value in (
        ("cpu.cfs_period_us", cpu.period),
        ("cpu.cfs_quota_us", cpu.quota and max(cpu.quota, -1)),
        ("cpu.rt_period_us", cpu.realtime_period),
        ("cpu.rt_runtime_us", cpu.realtime_runtime),
    ):
        if value:
            found.append(Setting(file, value))
    if cpu.burst is not None:
        found.append(Setting("cpu.cfs_burst_us", cpu.burst))
    if cpu.idle is not None:
        found.append(Setting("cpu.idle", cpu.idle))
    return found


def _v2(cpu: CPU) -> "list[Setting]":
    for name, value in (("realtimeRuntime", cpu.realtime_runtime), ("realtimePeriod", cpu.realtime_period)):
        if value:
            raise cpu.json.error(name, "cgroup v2 has no realtime limits")
    found = []
    if cpu.shares and cpu.idle != 1:
        found.append(Setting("cpu.weight", weight(cpu.shares)))
    if cpu.quota:
        quota = str(cpu.quota) if cpu.quota > 0 else "max"
        found.append(
            Setting("cpu.max", f"{quota} {cpu.period}" if cpu.period else quota)
        )  # the kernel keeps the period
    elif cpu.period:
        found.append(_PeriodAlone("cpu.max", cpu.period))
    if cpu.burst is not None:
        found.append(Setting("cpu.max.burst", cpu.burst))
    if cpu.idle is not None:
        found.append(Setting("cpu.idle", cpu.idle))
    return found


def _check_shares(cpu: CPU) -> None:
    """The kernel would take the nearest possible value without a word."""
    assert cpu.shares is not None
    if cpu.shares < MINIMUM_SHARES:
        raise cpu.json.error("shares", f"the minimum allowed cpu-shares is {MINIMUM_SHARES}")
    if cpu.shares > MAXIMUM_SHARES:
        raise cpu.json.error("shares", f"the maximum allowed cpu-shares is {MAXIMUM_SHARES}")


def weight(shares: int) -> int:
    """Return v2's weight (1..10000, default 100) for v1's shares (2..262144, default 1024).

    The curve of runc 1.5, which meets both ends and the default; the straight line of older ones gave 1024 a 39.
    """
    if shares <= MINIMUM_SHARES:
        return 1
    if shares >= MAXIMUM_SHARES:
        return 10000
    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def placement(cpu: CPU, v2: bool) -> "list[Setting]":
    """The cpuset controller: the same two files in both versions."""
    found = []
    for name, value in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if value.strip("0123456789,- "):
            raise cpu.json.error(name, f"{value!r} is not a list of numbers like 0-3,7")
        if value:
            found.append(Setting(f"cpuset.{name}", value))
    return found
