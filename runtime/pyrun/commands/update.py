"""pyrun update: change the limits of a running container."""

from foundation.errors import Error
from pyrun.cgroup import device_changes
from pyrun.config.document import load_config
from pyrun.config.linux import Resources
from pyrun.config.node import Node
from pyrun.config.validate import validate_resources
from pyrun.container.state import Container, load
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.options import Settings

# option: (part of linux.resources, property)
_NUMBERS = {
    "blkio_weight": ("blockIO", "weight"),
    "cpu_period": ("cpu", "period"),
    "cpu_quota": ("cpu", "quota"),
    "cpu_burst": ("cpu", "burst"),
    "cpu_share": ("cpu", "shares"),
    "cpu_rt_period": ("cpu", "realtimePeriod"),
    "cpu_rt_runtime": ("cpu", "realtimeRuntime"),
    "cpu_idle": ("cpu", "idle"),
    "pids_limit": ("pids", "limit"),
}
_TEXTS = {"cpuset_cpus": ("cpu", "cpus"), "cpuset_mems": ("cpu", "mems")}
_SIZES = {
    "memory": ("memory", "limit"),
    "memory_reservation": ("memory", "reservation"),
    "memory_swap": ("memory", "swap"),
    "kernel_memory": ("memory", "kernel"),
    "kernel_memory_tcp": ("memory", "kernelTCP"),
}
_UNITS = "kmgtp"
_MAXIMUM_DIGITS = 19


def run(
    settings: "Settings",
    id_: str,
    resources: str = "",
    l3_cache_schema: str = "",
    mem_bw_schema: str = "",
    device_add: "list[str] | None" = None,
    device_remove: "list[str] | None" = None,
    **options: str,
) -> None:
    """Write the new limits. `options` are ignored if there is a file of `resources`, as in runc.

    Nothing is changed if one of the values is invalid.
    """
    container = load(settings.root, id_)
    version = load_config(container.config_file).oci_version
    wanted = Resources(_read(resources) if resources else _from_options(options), version)
    wanted.devices = []  # as in runc's update, they are ignored: callers send the resources of config.json
    validate_resources(wanted)
    rules = _device_rules(device_add or [], device_remove or [])
    if container.status() == "stopped":
        raise Error("container not running")
    container.cgroup_driver().apply(wanted, devices=False)
    if rules:
        _change_devices(container, rules)
    if l3_cache_schema or mem_bw_schema:
        from pyrun.confine.intel_rdt import update  # imported here because few updates need it

        update(container.intel_rdt, l3_cache_schema, mem_bw_schema)


def _device_rules(add: "list[str]", remove: "list[str]") -> "list[dict[str, Any]]":
    if not (add or remove):
        return []
    removed = [device_changes.read("device-remove", text, allow=False) for text in remove]
    return removed + [device_changes.read("device-add", text, allow=True) for text in add]


def _change_devices(container: Container, new: "list[dict[str, Any]]") -> None:
    with container.locked() as container:
        after = device_changes.merge(container.device_changes, new)
        resources = load_config(container.config_file).linux.resources
        device_changes.apply(container.cgroup_driver(), resources, container.device_changes, after)
        container.device_changes = after
        container.save()


def _read(file: str) -> Node:
    """Return linux.resources as JSON from `file`, or from standard input if that is "-"."""
    return Node.load(0, "standard input") if file == "-" else Node.load(file, file)


def _from_options(options: "dict[str, str]") -> Node:
    json: dict[str, dict[str, Any]] = {}
    for option, text in options.items():
        if option in _TEXTS:
            part, name = _TEXTS[option]
            value: int | str = text
        else:
            part, name = _NUMBERS.get(option) or _SIZES[option]
            value = _size(option, text) if option in _SIZES else _number(option, text)
        json.setdefault(part, {})[name] = value
    return Node(json, "")


def _number(option: str, text: str) -> int:
    digits = text[1:] if text.startswith("-") else text
    if not (digits.isascii() and digits.isdigit() and len(digits) <= _MAXIMUM_DIGITS):
        raise UsageError(f'invalid value "{text}" for flag -{_flag(option)}: expected a number')
    return int(text)


def _size(option: str, text: str) -> int:
    """Return the bytes of "64m", "1.5GiB", "4096", or -1. All units are powers of 1024."""
    if text == "-1":
        return -1
    number = text.rstrip("bBiIkKmMgGtTpP ")
    unit = text[len(number) :].strip().lower()
    exponent = _UNITS.index(unit[0]) + 1 if unit and unit[0] in _UNITS else 0
    whole, _, fraction = number.partition(".")
    digits = whole + fraction
    known = unit in ("", "b") or unit[:1] in _UNITS and unit[1:] in ("", "b", "ib")
    if not (known and whole and digits.isascii() and digits.isdigit() and len(digits) <= _MAXIMUM_DIGITS):
        raise UsageError(f'invalid value "{text}" for flag -{_flag(option)}: expected a size like 64m, or -1')
    return (int(digits) << 10 * exponent) // int("1" + "0" * len(fraction))


def _flag(option: str) -> str:
    return option.replace("_", "-")
