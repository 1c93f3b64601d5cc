"""Properties of a systemd unit: limits and device rules, systemd.resource-control(5), and those of annotations."""

from foundation.linux.cpu_list import bit_mask, is_list
from pyrun.cgroup.controller import Controller
from pyrun.cgroup.device_rules import READ, WRITE, access_text, exceptions
from pyrun.cgroup.resources import plan
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.device_rules import Device, Rule
    from pyrun.cgroup.group import Cgroup
    from pyrun.cgroup.setting import Setting
    from pyrun.config.linux import Resources

    Property = tuple[str, tuple[str, Any]]  # name, (signature, value)

_ANNOTATION = "org.systemd.property."
_INFINITY = (1 << 64) - 1
_UNLIMITED = ("max", "-1")  # of v2, of v1
_SECOND = 1_000_000  # microseconds
_DIGITS = 20  # of the greatest 64-bit number
_PERCENT = 10_000  # microseconds: systemd rounds CPUQuota= to whole percents of a second

# file: property with the same values; "max", and for v1 -1, are infinity
_NUMBERS = {
    "memory.max": "MemoryMax",
    "memory.high": "MemoryHigh",
    "memory.low": "MemoryLow",
    "memory.min": "MemoryMin",
    "memory.swap.max": "MemorySwapMax",
    "pids.max": "TasksMax",
    "cpu.weight": "CPUWeight",
    "memory.limit_in_bytes": "MemoryLimit",
    "cpu.shares": "CPUShares",
    "blkio.weight": "BlockIOWeight",
}
_LISTS = {"cpuset.cpus": "AllowedCPUs", "cpuset.mems": "AllowedMemoryNodes"}


# GVariant's names for the types of D-Bus: https://docs.gtk.org/glib/gvariant-text-format.html
_TEXTS = {"string": "s", "objectpath": "o"}
_INTEGERS = {
    "byte": ("y", 0, (1 << 8) - 1),
    "int16": ("n", -(1 << 15), (1 << 15) - 1),
    "uint16": ("q", 0, (1 << 16) - 1),
    "int32": ("i", -(1 << 31), (1 << 31) - 1),
    "uint32": ("u", 0, (1 << 32) - 1),
    "int64": ("x", -(1 << 63), (1 << 63) - 1),
    "uint64": ("t", 0, (1 << 64) - 1),
}


def from_resources(cgroup: "Cgroup", resources: "Resources") -> "list[Property]":
    """Return the limits for which systemd has properties; it does not touch the others.

    Values that cannot be a limit, as `unified` may contain, are left out, too: the kernel will refuse them.
    """
    properties: dict[str, tuple[str, Any]] = {}
    for _, controller, settings in plan(cgroup, resources):
        for setting in settings:
            value = str(setting.value)
            if setting.file in _NUMBERS and _is_limit(value):
                number = _INFINITY if value in _UNLIMITED else int(value)
                # systemd refuses TasksMax=0. 1 has the same effect: the init counts as one task, and cannot fork.
                properties[_NUMBERS[setting.file]] = ("t", number or 1 if setting.file == "pids.max" else number)
            elif setting.file in _LISTS and is_list(value):
                properties[_LISTS[setting.file]] = ("ay", bit_mask(value))
            elif setting.file == "cpu.idle" and value == "1" and controller.v2:
                properties["CPUWeight"] = ("t", 0)  # systemd 252
            elif setting.file in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
                quota, period = _cpu_max(controller, setting) if controller.v2 else _cfs(controller, settings)
                if _is_limit(quota) and _is_limit(period) and period not in (*_UNLIMITED, "0"):
                    properties["CPUQuotaPeriodUSec"] = ("t", int(period))
                    properties["CPUQuotaPerSecUSec"] = ("t", quota_per_second(quota, int(period)))
    return list(properties.items())


def _is_limit(text: str) -> bool:
    return text in _UNLIMITED or (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) < _INFINITY)


def _cpu_max(controller: Controller, setting: "Setting") -> "tuple[str, str]":
    """Return (quota, period) for a setting of cpu.max that may have only one of them."""
    quota, period = controller.read("cpu.max").split()
    if isinstance(setting.value, int):
        return quota, str(setting.value)
    words = setting.value.split()
    return "".join(words[:1]), words[1] if len(words) > 1 else period


def _cfs(controller: Controller, settings: "list[Setting]") -> "tuple[str, str]":
    """Return (quota, period) for v1, which has a file for each."""
    given = {setting.file: str(setting.value) for setting in settings}
    quota, period = (given.get(name) or controller.read(name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return quota, period


def quota_per_second(quota: str, period: int) -> int:
    """Return the CPU time a second in microseconds, rounded up to whole percents: it must not be below the quota."""
    if quota in _UNLIMITED:
        return _INFINITY
    return min(-(-int(quota) * _SECOND // (period * _PERCENT)) * _PERCENT, _INFINITY)


def from_rules(rules: "list[Rule]", v1: bool) -> "list[Property]":
    """Return device rules in systemd's form: all devices, or a list of allowed ones, each with both numbers, a major
    number or none.

    If such a list cannot express the rules: on v2 systemd allows everything, and our own program denies the rest; on
    v1, where systemd overwrites our rules, it allows what the list can express, and denies the rest.
    """
    if not rules:
        return []
    everything: list[Property] = [("DevicePolicy", ("s", "auto")), ("DeviceAllow", ("a(ss)", []))]
    try:
        default, access = exceptions(rules)
    except ConfigError:
        return everything  # only v2 can have such rules
    beyond = default and access or any(minor is not None and major is None for _, major, minor in access)
    if default and not access or beyond and not v1:
        return everything
    listed = {} if default else access
    together = listed if v1 else {device: _together(device, listed) for device in listed}
    entries = [(node, access_text(bits)) for device, bits in together.items() if (node := _node(device))]
    # The empty list clears the current one; otherwise the entries would be added to it.
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", [])), ("DeviceAllow", ("a(ss)", entries))]


def _node(device: "Device") -> str:
    """Return the device as DeviceAllow= takes it, systemd.resource-control(5): a node, "char-MAJOR", "char-*" or ""."""
    type_, major, minor = device
    kind = "char" if type_ == "c" else "block"
    if minor is None:
        return f"{kind}-{'*' if major is None else major}"
    return "" if major is None else f"/dev/{kind}/{major}:{minor}"


def _together(device: "Device", access: "dict[Device, int]") -> int:
    """Return the access that the entry of `device` must have in systemd's list: opening it for reading and writing
    needs both in one entry, whereas our program adds up the access of several rules."""
    bits = access[device]
    for other, its in access.items():
        if all(one is None or one == mine for one, mine in zip(other, device)):
            bits |= its & (READ | WRITE)
    return bits


def from_annotations(annotations: "dict[str, str]") -> "list[Property]":
    """Return the properties that annotations org.systemd.property.NAME set; their values are GVariant texts.

    Raises ConfigError that names the annotation.
    """
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
    """Return the property under its name on the bus: TimeoutStopSec= of a unit file is TimeoutStopUSec there."""
    if not name.endswith("Sec") or name.endswith("USec"):
        return name, value
    if type(value[1]) is not int or not 0 <= value[1] * _SECOND <= _INFINITY:
        raise ValueError("is a time, so a number of seconds is expected")
    return f"{name[:-3]}USec", ("t", value[1] * _SECOND)


def variant(text: str) -> "tuple[str, Any]":
    """Return (signature, value) of a boolean, a number, a string or an array of them in GVariant's text format.

    Raises ValueError.
    """
    text = text.strip()
    if text[:1] != "[" or text[-1:] != "]":
        return _scalar(text)
    items = [_scalar(item.strip()) for item in _items(text[1:-1])]
    if len({signature for signature, _ in items}) != 1:
        raise ValueError(f"{text!r} is not an array of one type")
    return f"a{items[0][0]}", [value for _, value in items]


def _scalar(text: str) -> "tuple[str, Any]":
    if text in ("true", "false"):
        return "b", text == "true"
    if _is_quoted(text):
        return "s", text[1:-1]
    word, rest = text.split(None, 1) if " " in text else ("int32", text)
    if word in _TEXTS and _is_quoted(rest):
        return _TEXTS[word], rest[1:-1]
    if word not in _INTEGERS or not (rest.isascii() and rest.removeprefix("-").isdigit()):
        raise ValueError(
            f"{text[:60]!r} is not understood: a boolean, a number, a string in quotes, or an array of such"
        )
    type_, least, most = _INTEGERS[word]
    if len(rest) > _DIGITS or not least <= int(rest) <= most:
        raise ValueError(f"{text[:60]!r} is not between {least} and {most}")
    return type_, int(rest)


def _is_quoted(text: str) -> bool:
    return len(text) > 1 and text[0] in "'\"" and text[-1] == text[0] and text.count(text[0]) == 2 and "\\" not in text


def _items(text: str) -> "list[str]":
    """Split at commas outside of quotes."""
    items, quote = [""], ""
    for character in text:
        if character == "," and not quote:
            items.append("")
            continue
        if character in "'\"" and quote in ("", character):
            quote = "" if quote else character
        items[-1] += character
    return items
