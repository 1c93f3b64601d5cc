"""linux.resources.memory. 0 means "not set", because callers written in Go send it so; -1 means "no limit".

v2 has no swappiness, use_hierarchy or switch for the OOM killer: like runc, we ignore them there. Like runc, we ignore
`kernel` on both versions: Linux 5.16 removed that limit. v2 never had a limit for kernelTCP.
"""

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.setting import Setting
from pyrun.config.linux import UNSET_SWAPPINESS, Memory
from pyrun.errors import ConfigError


def settings(memory: Memory, v2: bool) -> "list[Setting]":
    """Return the files to write, in bytes. Raises ConfigError for swap without a limit on v2."""
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
        found.append(Setting("memory.swappiness", memory.swappiness))
    return found


def _v2(memory: Memory) -> "list[Setting]":
    found = []
    swap = swap_max(memory)
    if swap is not None:
        # Without swap accounting there is no memory.swap.max, and these two values would change nothing.
        found.append(Setting("memory.swap.max", swap, optional=swap in ("max", "0")))
    if memory.limit:
        found.append(Setting("memory.max", _number(memory.limit)))
    if memory.reservation:
        found.append(Setting("memory.low", _number(memory.reservation)))
    return found


def swap_max(memory: Memory) -> "str | None":
    """Return the value for memory.swap.max, None for none: v2 counts swap alone, the config memory plus swap."""
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
    """checkBeforeUpdate: raise ConfigError if a limit is below the usage. v2 would kill processes; v1 refuses it."""
    if not memory.check_before_update or not controller.v2:
        return
    usage = int(controller.read("memory.current"))
    for name, value in (("limit", memory.limit), ("swap", memory.swap)):
        if value and 0 < value < usage:
            raise memory.json.error(name, f"{value} is less than the {usage} bytes in use")


def too_low(controller: Controller, memory: Memory) -> ConfigError:
    """Return the error that explains EBUSY of v1: more memory is in use than the new limit, and cannot be reclaimed."""
    usage = controller.read("memory.usage_in_bytes")
    peak = controller.read("memory.max_usage_in_bytes")
    name, value = ("limit", memory.limit) if memory.limit else ("swap", memory.swap)
    return memory.json.error(
        name, f"unable to set memory limit to {value} (current usage: {usage}, peak usage: {peak})"
    )
