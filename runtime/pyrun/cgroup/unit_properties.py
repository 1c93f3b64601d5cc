"""Properties of a systemd unit: limits of cgroup v2, systemd.resource-control(5), and what annotations name."""

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.resources import plan
from pyrun.confine.affinity import bit_mask
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.group import Cgroup
    from pyrun.cgroup.setting import Setting
    from pyrun.cgroup.systemd import Property
    from pyrun.spec.linux import Resources

_ANNOTATION = "org.systemd.property."
_INFINITY = (1 << 64) - 1
_SECOND = 1_000_000  # microseconds
_PERCENT = 10_000  # of a second, in microseconds: what CPUQuota= is kept in

# file of cgroup v2: property with the same values, "max" for infinity
_NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
}
_LISTS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


# GVariant's words for the types of D-Bus: https://docs.gtk.org/glib/gvariant-text-format.html
_TYPES = {
    "byte": "y",
    "boolean": "b",
    "int16": "n",
    "uint16": "q",
    "int32": "i",
    "uint32": "u",
    "int64": "x",
    "uint64": "t",
    "string": "s",
    "objectpath": "o",
}


def from_resources(cgroup: "Cgroup", resources: "Resources") -> "list[Property]":
    """Return the limits that systemd has properties for; others it leaves alone."""
    properties: dict[str, tuple[str, Any]] = {}
    for _, controller, settings in plan(cgroup, resources):
        for setting in settings:
            value = str(setting.value)
            if setting.file in _NUMBERS and (value == "max" or value.isdigit()):
                properties[_NUMBERS[setting.file]] = ("t", _INFINITY if value == "max" else int(value))
            elif setting.file in _LISTS:
                properties[_LISTS[setting.file]] = ("ay", bit_mask(value))
            elif setting.file == "cpu.idle" and value == "1":
                properties["CPUWeight"] = ("t", 0)  # systemd 252
            elif setting.file == "cpu.max":
                quota, period = _cpu_max(controller, setting)
                properties["CPUQuotaPeriodUSec"] = ("t", period)
                properties["CPUQuotaPerSecUSec"] = ("t", quota_per_second(quota, period))
    return list(properties.items())


def _cpu_max(controller: Controller, setting: "Setting") -> "tuple[str, int]":
    """Return (quota, period) of a setting that may leave out either."""
    quota, period = controller.read("cpu.max").split()
    if isinstance(setting.value, int):
        return quota, setting.value
    words = setting.value.split()
    return words[0], int(words[1] if len(words) > 1 else period)


def quota_per_second(quota: str, period: int) -> int:
    """Return the CPU time in a second, in whole percents, rounded up: less would be less than was asked for."""
    if quota == "max":
        return _INFINITY
    return -(-int(quota) * _SECOND // (period * _PERCENT)) * _PERCENT


def from_annotations(annotations: "dict[str, str]") -> "list[Property]":
    """Return the properties that annotations org.systemd.property.NAME set, their values written as GVariants."""
    properties = []
    for key, text in annotations.items():
        name = key.removeprefix(_ANNOTATION)
        if name == key:
            continue
        if not (name.isascii() and name.isalpha()):
            raise ConfigError(f"config.json: annotations[{key!r}]: {name!r} is not the name of a property")
        try:
            properties.append(_property(name, variant(text)))
        except ValueError as error:
            raise ConfigError(f"config.json: annotations[{key!r}]: {error}") from None
    return properties


def _property(name: str, value: "tuple[str, Any]") -> "Property":
    """Times have two names: TimeoutStopSec= in a unit's file is TimeoutStopUSec on the bus."""
    if not name.endswith("Sec") or name.endswith("USec"):
        return name, value
    if value[0] not in "ynqiuxt":
        raise ValueError("is a time, so a number of seconds is expected")
    return f"{name[:-3]}USec", ("t", value[1] * _SECOND)


def variant(text: str) -> "tuple[str, Any]":
    """Return (signature, value) of a boolean, a number, a string or an array of such, as GVariant writes them."""
    text = text.strip()
    if text in ("true", "false"):
        return "b", text == "true"
    if text[:1] == "[" and text[-1:] == "]":
        items = [variant(item) for item in _items(text[1:-1])]
        if len({signature for signature, _ in items}) != 1:
            raise ValueError(f"{text!r} is not an array of one type")
        return f"a{items[0][0]}", [value for _, value in items]
    if len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] and text.count(text[0]) == 2 and "\\" not in text:
        return "s", text[1:-1]
    word, _, rest = text.rpartition(" ")
    type_ = _TYPES.get(word.strip() or "int32")
    if type_ and type_ in "so":
        return type_, variant(rest)[1]
    if type_ is None or type_ == "b" or not (rest.isascii() and rest.removeprefix("-").isdigit()):
        raise ValueError(f"{text!r} is not understood: a boolean, a number, a string in quotes, or an array of such")
    if type_ in "yqut" and rest.startswith("-"):
        raise ValueError(f"{text!r} is negative")
    return type_, int(rest)


def _items(text: str) -> "list[str]":
    """Split at the commas that are not in quotes."""
    items, quote = [""], ""
    for character in text:
        if character == "," and not quote:
            items.append("")
            continue
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        items[-1] += character
    return items
