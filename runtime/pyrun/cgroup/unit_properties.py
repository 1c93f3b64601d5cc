"""Properties of a systemd unit: limits and device rules, systemd.resource-control(5), and what annotations name."""

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.devices import READ, WRITE, access_text, exceptions
from pyrun.cgroup.resources import plan
from pyrun.confine.affinity import bit_mask
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.devices import Device, Rule
    from pyrun.cgroup.group import Cgroup
    from pyrun.cgroup.setting import Setting
    from pyrun.cgroup.systemd import Property
    from pyrun.spec.linux import Resources

_ANNOTATION = "org.systemd.property."
_INFINITY = (1 << 64) - 1
_SECOND = 1_000_000  # microseconds
_PERCENT = 10_000  # of a second, in microseconds: what CPUQuota= is kept in

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
            if setting.file in _NUMBERS and (value in ("max", "-1") or value.isdigit()):
                properties[_NUMBERS[setting.file]] = ("t", int(value) if value.isdigit() else _INFINITY)
            elif setting.file in _LISTS:
                properties[_LISTS[setting.file]] = ("ay", bit_mask(value))
            elif setting.file == "cpu.idle" and value == "1" and controller.v2:
                properties["CPUWeight"] = ("t", 0)  # systemd 252
            elif setting.file in ("cpu.max", "cpu.cfs_quota_us", "cpu.cfs_period_us"):
                quota, period = _cpu_max(controller, setting) if controller.v2 else _cfs(controller, settings)
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


def _cfs(controller: Controller, settings: "list[Setting]") -> "tuple[str, int]":
    """The same of v1, which has a file for each."""
    given = {setting.file: str(setting.value) for setting in settings}
    quota, period = (given.get(name) or controller.read(name) for name in ("cpu.cfs_quota_us", "cpu.cfs_period_us"))
    return quota, int(period)


def quota_per_second(quota: str, period: int) -> int:
    """Return the CPU time in a second, in whole percents, rounded up: less would be less than was asked for."""
    if quota in ("max", "-1"):
        return _INFINITY
    return -(-int(quota) * _SECOND // (period * _PERCENT)) * _PERCENT


def from_rules(rules: "list[Rule]", v1: bool) -> "list[Property]":
    """Return device rules as systemd keeps them: all devices, or a list of those allowed, whose entries may leave out
    the minor number or both.

    What such a list cannot say is left to our program on v2. systemd allows everything there, for it is enough that we
    deny; but its rules for v1 are written over ours, so there it allows what it can, and denies the rest.
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
    # Without the empty list this one would be added to what is there.
    return [("DevicePolicy", ("s", "strict")), ("DeviceAllow", ("a(ss)", [])), ("DeviceAllow", ("a(ss)", entries))]


def _node(device: "Device") -> str:
    """systemd.resource-control(5), DeviceAllow=: a node, char-MAJOR, or with a wildcard char-*."""
    type_, major, minor = device
    kind = "char" if type_ == "c" else "block"
    if minor is None:
        return f"{kind}-{'*' if major is None else major}"
    return "" if major is None else f"/dev/{kind}/{major}:{minor}"


def _together(device: "Device", access: "dict[Device, int]") -> int:
    """Return the access to `device` that its entry must have: who opens it for both needs both of one entry, while our
    program, unlike v1, adds up what several allow."""
    bits = access[device]
    for other, its in access.items():
        if all(one is None or one == mine for one, mine in zip(other, device)):
            bits |= its & (READ | WRITE)
    return bits


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
