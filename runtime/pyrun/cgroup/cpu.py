"""linux.resources.cpu: the controllers cpu and cpuset. 0 means "not set", because callers written in Go send it so."""

from math import ceil, log2

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.setting import Setting
from pyrun.config.linux import CPU

MINIMUM_SHARES = 2
MAXIMUM_SHARES = 1 << 18


class _PeriodAlone(Setting):
    """A period without a quota: cpu.max takes a period only after a quota, so the current quota is written again."""

    def write(self, controller: Controller) -> None:
        quota = controller.read("cpu.max").split()[0]
        controller.write("cpu.max", f"{quota} {self.value}")


def settings(cpu: CPU, v2: bool) -> "list[Setting]":
    """Return the files of the cpu controller, with times in microseconds. v2 has no realtime limits: ConfigError."""
    return _v2(cpu) if v2 else _v1(cpu)


def _v1(cpu: CPU) -> "list[Setting]":
    found = []
    if cpu.shares and cpu.idle != 1:  # an idle cgroup has the lowest weight, and refuses another
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
        found.append(Setting("cpu.cfs_burst_us", cpu.burst, optional=cpu.burst == 0))
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
        # Without a period in the text, the kernel keeps the current one.
        found.append(Setting("cpu.max", f"{quota} {cpu.period}" if cpu.period else quota))
    elif cpu.period:
        found.append(_PeriodAlone("cpu.max", cpu.period))
    if cpu.burst is not None:
        found.append(Setting("cpu.max.burst", cpu.burst, optional=cpu.burst == 0))
    if cpu.idle is not None:
        found.append(Setting("cpu.idle", cpu.idle))
    return found


def _check_shares(cpu: CPU) -> None:
    """Raise ConfigError if the value is out of range: the kernel would silently take the nearest possible one."""
    assert cpu.shares is not None
    if cpu.shares < MINIMUM_SHARES:
        raise cpu.json.error("shares", f"the minimum allowed cpu-shares is {MINIMUM_SHARES}")
    if cpu.shares > MAXIMUM_SHARES:
        raise cpu.json.error("shares", f"the maximum allowed cpu-shares is {MAXIMUM_SHARES}")


def weight(shares: int) -> int:
    """Return v2's weight (1..10000, default 100) for v1's shares (2..262144, default 1024).

    This is the curve of runc 1.5, which maps both ends and the default exactly; older releases mapped 1024 to 39.
    """
    if shares <= MINIMUM_SHARES:
        return 1
    if shares >= MAXIMUM_SHARES:
        return 10000
    exponent = log2(shares)
    return ceil(10 ** ((exponent * exponent + 125 * exponent) / 612 - 7 / 34))


def placement(cpu: CPU, v2: bool) -> "list[Setting]":
    """Return the files of cpuset, the same in both versions. The kernel also takes "0-31:2/4" (bitmap_parselist())."""
    found = []
    for name, value in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if value.strip("0123456789,- :/"):
            raise cpu.json.error(name, f"{value!r} is not a list of numbers like 0-3,7")
        if value:
            found.append(Setting(f"cpuset.{name}", value))
    return found
