"""linux.resources as settings for the files of a cgroup.

plan() refuses everything that can be refused, and changes nothing; the other functions only write.  As in runc, a limit
for a controller that the machine does not have is an error, because it would not be in force.
"""

from errno import EBUSY

from foundation.errors import Error
from pyrun.cgroup.controller import Controller
from pyrun.cgroup.devices import apply as apply_devices
from pyrun.cgroup.devices import check as check_devices
from pyrun.cgroup.group import Cgroup
from pyrun.cgroup.setting import Setting, write_all
from pyrun.config.linux import Resources

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any


def check(cgroup: Cgroup, resources: Resources) -> None:
    """Raise ConfigError if this machine cannot apply `resources`. Changes nothing."""
    plan(cgroup, resources)
    check_devices(cgroup, resources)


def apply(cgroup: Cgroup, resources: Resources, memory: bool, devices: bool) -> None:
    """Write in runc's order: each controller, the devices, then `unified`, which may overwrite the others."""
    parts = plan(cgroup, resources)
    for name, controller, settings in parts:
        if name == "memory" and (memory or cgroup.memory_joins):
            _write_memory(controller, settings, resources)
        elif name not in ("memory", "unified"):
            _write(controller, settings)
    if devices:
        apply_devices(cgroup, resources)
    for name, controller, settings in parts:
        if name == "unified":
            _write(controller, [one for one in settings if memory or not _is_of_memory(one)])


def limit_memory(cgroup: Cgroup, resources: Resources) -> None:
    """Write the memory limits that apply() skips for `memory=False`."""
    for name, controller, settings in plan(cgroup, resources):
        if name == "memory" and not cgroup.memory_joins:
            _write_memory(controller, settings, resources)
        elif name == "unified":
            _write(controller, [one for one in settings if _is_of_memory(one)])


def _is_of_memory(setting: Setting) -> bool:
    return setting.file.startswith("memory.")


def _write(controller: Controller, settings: "list[Setting]") -> None:
    try:
        write_all(controller, settings)
    except FileNotFoundError as error:
        name = error.filename.rpartition("/")[2].partition(".")[0]
        if not controller.v2 or name in ("cgroup", *controller.read("cgroup.controllers").split()):
            raise
        raise Error(
            f"the {name} controller could not be enabled for {controller.directory}: a cgroup above it has processes "
            "of its own, which cgroup v2 forbids; move them to one below that, or give linux.cgroupsPath elsewhere"
        ) from None


def _write_memory(controller: Controller, settings: "list[Setting]", resources: Resources) -> None:
    from pyrun.cgroup import memory  # loaded by plan()

    assert resources.memory
    memory.refuse_below_usage(controller, resources.memory)
    try:
        _write(controller, settings)
    except OSError as error:
        if error.errno == EBUSY and not controller.v2:
            raise memory.too_low(controller, resources.memory) from None
        raise


def plan(cgroup: Cgroup, resources: Resources) -> "list[tuple[str, Controller, list[Setting]]]":
    """Return what is to be written as (property of linux.resources, controller, settings), "unified" last.

    Raises ConfigError if a controller is missing or cannot do it.
    """
    found = []
    for name, controllers, settings_of, config in _asked(cgroup, resources):
        controller = next(filter(None, map(cgroup.controller, controllers)), None)
        settings = settings_of(config, controller.v2 if controller else cgroup.v2_only)
        if settings and not controller:
            raise resources.json.error(name, f"cgroup controller {' or '.join(controllers)} is not available")
        if settings and controller:
            found.append((name, controller, settings))
    if resources.unified:
        found.append(("unified", *_unified(cgroup, resources)))
    return found


def _asked(
    cgroup: Cgroup, resources: Resources
) -> "Iterator[tuple[str, tuple[str, ...], Callable[[Any, bool], list[Setting]], Any]]":
    """Yield each part of `resources`: its name, its possible controllers (v1's, v2's), its settings function, itself.

    The imports are here because few configs have more than three parts, and each module costs 50 µs.
    """
    if resources.pids_limit is not None:
        yield "pids.limit", ("pids",), _pids, resources.pids_limit
    if resources.memory:
        from pyrun.cgroup import memory

        yield "memory", ("memory",), memory.settings, resources.memory
    if resources.block_io:
        from pyrun.cgroup import block_io

        yield "blockIO", ("blkio", "io"), block_io.settings, resources.block_io
    if resources.cpu:
        from pyrun.cgroup import cpu

        yield "cpu", ("cpu",), cpu.settings, resources.cpu
        yield "cpu", ("cpuset",), cpu.placement, resources.cpu
    if resources.hugepage_limits:
        from pyrun.cgroup import hugetlb

        yield "hugepageLimits", ("hugetlb",), hugetlb.settings, resources.hugepage_limits
    if resources.rdma or resources.network:
        from pyrun.cgroup import network

        yield "rdma", ("rdma",), network.rdma, resources
        if resources.network and not cgroup.v2_only:  # v2 has neither controller; runc and crun ignore them there
            yield "network.classID", ("net_cls",), network.class_id, resources
            yield "network.priorities", ("net_prio",), network.priorities, resources


def _pids(limit: int, v2: bool) -> "list[Setting]":
    return [Setting("pids.max", "max" if limit < 0 else limit)]


def _unified(cgroup: Cgroup, resources: Resources) -> "tuple[Controller, list[Setting]]":
    """Return config-linux.md#unified: each value is written to its v2 file line by line; any file name is accepted."""
    hierarchy = cgroup.controller("")
    if hierarchy is None:
        raise resources.json.error("unified", "needs cgroup v2, which is not mounted")
    settings = []
    for file, value in resources.unified.items():
        controller = file.partition(".")[0]
        found = cgroup.controller(controller)
        if controller != "cgroup" and not (found and found.v2):
            raise resources.json.error(f"unified[{file!r}]", f"cgroup v2 controller {controller} is not available")
        settings += [Setting(file, line) for line in value.rstrip("\n").split("\n")]
    return hierarchy, settings
