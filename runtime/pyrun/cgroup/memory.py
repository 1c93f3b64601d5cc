"""linux.resources.memory. As with Go's callers, 0 is absence; -1 is no limit.

v2 has no swappiness, no use_hierarchy and no switch for the OOM killer: they are left out there, as by runc.
kernel is ignored on both, as by runc: Linux 5.16 takes no such limit. v2 never had one for kernelTCP either.
"""

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.setting import Setting
from pyrun.errors import ConfigError
from pyrun.spec.linux import Memory

UNSET_SWAPPINESS = (1 << 64) - 1  # -1 in a Go uint64: what callers send for "the system's"


def settings(memory: Memory, v2: bool) -> "list[Setting]":
    for name, value in (("limit", memory.limit), ("reservation", memory.reservation), ("swap", memory.swap)):
        if value is not None and value < -1:
            raise memory.json.error(name, f"{value} is neither a size nor -1, no limit")
    if memory.swap and memory.swap > 0 and memory.limit and memory.swap < memory.limit:
        raise memory.json.error(
            "swap", f"{memory.swap} is memory and swap together, less than the limit {memory.limit}"
        )
    return _v2(memory) if v2 else _v1(memory)


def _v1(memory: Memory) -> "list[Setting]":
    found = []
    if memory.limit:
        found.append(Setting("memory.limit_in_bytes", memory.limit))
    swap = memory.swap or (-1 if memory.limit == -1 else 0)
    if swap:
        found.append(Setting("memory.memsw.limit_in_bytes", swap, optional=swap == -1))
    if memory.reservation:
        found.append(Setting("memory.soft_limit_in_bytes", memory.reservation))
    if memory.kernel_tcp:
        found.append(Setting("memory.kmem.tcp.limit_in_bytes", memory.kernel_tcp))
    if memory.use_hierarchy:
        found.append(Setting("memory.use_hierarchy", 1))
    if memory.disable_oom_killer:
        found.append(Setting("memory.oom_control", 1))
    if memory.swappiness is not None and memory.swappiness != UNSET_SWAPPINESS:
        if memory.swappiness > 100:
            raise memory.json.error("swappiness", f"{memory.swappiness} is not between 0 and 100")
        found.append(Setting("memory.swappiness", memory.swappiness))
    return found


def _v2(memory: Memory) -> "list[Setting]":
    found = []
    swap = swap_max(memory)
    if swap is not None:
        # Without swap accounting there is no swap.max, and nothing that these two would change.
        found.append(Setting("memory.swap.max", swap, optional=swap in ("max", "0")))
    if memory.limit:
        found.append(Setting("memory.max", _number(memory.limit)))
    if memory.reservation:
        found.append(Setting("memory.low", _number(memory.reservation)))
    return found


def swap_max(memory: Memory) -> "str | None":
    """Return what memory.swap.max shall be: v2 counts swap alone, the config memory and swap together."""
    if not memory.swap:
        return "max" if memory.limit == -1 else None
    if memory.swap == -1 or memory.limit == -1:
        return _number(memory.swap)
    if not memory.limit:
        raise memory.json.error("swap", "needs memory.limit, since cgroup v2 limits swap alone")
    return str(memory.swap - memory.limit)


def _number(value: int) -> str:
    return "max" if value == -1 else str(value)


def refuse_below_usage(controller: Controller, memory: Memory) -> None:
    """checkBeforeUpdate: v2 would meet a limit below the usage by killing processes; v1 refuses it by itself."""
    if not memory.check_before_update or not controller.v2:
        return
    usage = int(controller.read("memory.current"))
    for name, value in (("limit", memory.limit), ("swap", memory.swap)):
        if value and 0 < value < usage:
            raise memory.json.error(name, f"{value} is less than the {usage} bytes in use")


def too_low(controller: Controller, memory: Memory) -> ConfigError:
    """Return the error that tells why v1 said EBUSY."""
    usage = controller.read("memory.usage_in_bytes")
    peak = controller.read("memory.max_usage_in_bytes")
    name, value = ("limit", memory.limit) if memory.limit else ("swap", memory.swap)
    return memory.json.error(
        name, f"unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})"
    )
