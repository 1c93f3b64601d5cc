"""linux.resources.devices: which device nodes may be opened and made.

The first rule denies everything, then come the config's rules in their order, then those that every container needs:
config-linux.md#allowed-device-list, #default-devices.  Of each of read, write and mknod the last rule that names it
decides.
"""

import os

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.group import Cgroup
from pyrun.errors import ConfigError
from pyrun.rootless import rootless
from pyrun.spec.linux import DeviceRule, Resources

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    Device = tuple[str, int | None, int | None]  # type, major, minor
    Exceptions = tuple[bool, dict[Device, int]]  # whether devices are allowed by default, the access that differs

MKNOD, READ, WRITE = 1, 2, 4  # as <linux/bpf.h> has them
ALL = MKNOD | READ | WRITE
_LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}


class Rule:
    """For every device of `type` ("c" or "b"; "a" only if for all there is), where `major` and `minor` are not None."""

    def __init__(self, allow: bool, type_: str, major: "int | None", minor: "int | None", access: int) -> None:
        self.allow = allow
        self.type = type_
        self.major = major
        self.minor = minor
        self.access = access

    @property
    def device(self) -> "Device":
        return self.type, self.major, self.minor

    def __str__(self) -> str:
        return f"{device_text(self.device)} {access_text(self.access)}"


# As runc: a node may be made but not opened, but for /dev/null zero full random urandom tty, the pseudo terminals with
# their ptmx, and tun.
DEFAULTS = [
    Rule(True, "c", None, None, MKNOD),
    Rule(True, "b", None, None, MKNOD),
    Rule(True, "c", 1, 3, ALL),
    Rule(True, "c", 1, 5, ALL),
    Rule(True, "c", 1, 7, ALL),
    Rule(True, "c", 1, 8, ALL),
    Rule(True, "c", 1, 9, ALL),
    Rule(True, "c", 5, 0, ALL),
    Rule(True, "c", 136, None, ALL),
    Rule(True, "c", 5, 2, ALL),
    Rule(True, "c", 10, 200, ALL),
]


def rules(resources: Resources) -> "list[Rule]":
    """Return the rules of the config between the first and the defaults."""
    found = [Rule(False, "a", None, None, ALL)]
    for rule in resources.devices:
        found += parse(rule)
    return found + DEFAULTS


def parse(rule: DeviceRule) -> "list[Rule]":
    """What a rule does not mention, it means all of. One for both types, but not for all devices, becomes two."""
    if rule.type not in ("a", "b", "c"):
        raise rule.json.error("type", f'{rule.type!r} is none of "a", "b" and "c"')
    for name, number in (("major", rule.major), ("minor", rule.minor)):
        if number is not None and not 0 <= number < 1 << 32:
            raise rule.json.error(name, f"{number} is not a device number")
    if rule.access.strip("rwm"):
        raise rule.json.error("access", f'{rule.access!r} is not made of "r", "w" and "m"')
    access = sum(_LETTERS[letter] for letter in set(rule.access)) or ALL
    whole = rule.type == "a" and rule.major is None and rule.minor is None and access == ALL
    types = "a" if whole else "cb" if rule.type == "a" else rule.type
    return [Rule(rule.allow, type_, rule.major, rule.minor, access) for type_ in types]


def check(cgroup: Cgroup, resources: Resources) -> None:
    found = rules(resources)
    if rootless():
        return
    if "devices" in cgroup.paths:
        try:
            exceptions(found)
        except ConfigError as error:
            raise resources.json.error("devices", str(error)) from None
    elif "" not in cgroup.paths:
        raise resources.json.error("devices", "cgroup controller devices is not available")


def in_force(resources: Resources) -> "list[Rule]":
    """Return the rules that a container gets; none for a rootless one: it has nothing that they would take away."""
    return [] if rootless() else rules(resources)


def apply(cgroup: Cgroup, resources: Resources) -> None:
    found = in_force(resources)
    if not found:
        return
    if "devices" in cgroup.paths:
        write(Controller(cgroup.paths["devices"], v2=False), *exceptions(found))
    elif "" in cgroup.paths:
        attach(cgroup.paths[""], found)


def exceptions(found: "list[Rule]") -> "Exceptions":
    """Return the rules as v1 keeps them: whether devices are allowed by default, and the access that differs by device.

    v1 cannot hold an exception to an exception; raises ConfigError.
    """
    default = False
    access: dict[Device, int] = {}
    for rule in found:
        if rule.type == "a":
            default = rule.allow
            access = {}
        elif rule.allow != default:
            access[rule.device] = access.get(rule.device, 0) | rule.access
        else:
            for device in [device for device in access if access[device] & rule.access and _overlap(device, rule)]:
                if not _covers(rule, device):
                    raise ConfigError(
                        f"cgroup v1 cannot {'allow' if rule.allow else 'deny'} {device_text(rule.device)} alone after "
                        f"{'denying' if rule.allow else 'allowing'} {device_text(device)}"
                    )
                access[device] &= ~rule.access
    return default, {device: bits for device, bits in access.items() if bits}


def _overlap(device: "Device", rule: Rule) -> bool:
    pairs = zip(device, rule.device)
    return all(one is None or other is None or one == other for one, other in pairs)


def _covers(rule: Rule, device: "Device") -> bool:
    return all(mine is None or mine == its for mine, its in zip(rule.device, device))


def write(controller: Controller, default: bool, access: "dict[Device, int]") -> None:
    usual, other = ("devices.allow", "devices.deny") if default else ("devices.deny", "devices.allow")
    controller.write(usual, "a")
    if access:
        controller.write(other, *(f"{device_text(device)} {access_text(bits)}" for device, bits in access.items()))


def device_text(device: "Device") -> str:
    type_, major, minor = device
    return f"{type_} {'*' if major is None else major}:{'*' if minor is None else minor}"


def access_text(bits: int) -> str:
    return "".join(letter for letter in "rwm" if bits & _LETTERS[letter])


def attach(directory: str, found: "list[Rule]") -> None:
    """Put a program in place of the one that is there: without a moment without rules."""
    from pyrun.cgroup.device_program import compile_rules  # with bpf(2), and so with ctypes: only v2 needs it
    from pyrun.linux import bpf

    cgroup = os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        program = bpf.load(bpf.BPF_PROG_TYPE_CGROUP_DEVICE, compile_rules(found))
        try:
            bpf.replace(cgroup, bpf.BPF_CGROUP_DEVICE, program)
        finally:
            os.close(program)  # the cgroup keeps it
    except OSError as error:
        raise OSError(error.errno, error.strerror, f"attach the device rules to {directory}") from None
    finally:
        os.close(cgroup)
