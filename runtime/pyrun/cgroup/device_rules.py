"""linux.resources.devices: which device nodes a container may open and make.

The first rule denies everything, then come the config's rules in their order, then the rules that every container needs
(config-linux.md#allowed-device-list, #default-devices).  For each of read, write and mknod, the last rule that names it
decides.
"""

from foundation.rootless import rootless
from pyrun.config.linux import DeviceRule, Resources
from pyrun.errors import ConfigError

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    Device = tuple[str, int | None, int | None]  # type, major, minor
    Exceptions = tuple[bool, dict[Device, int]]  # whether devices are allowed by default, the access that differs

MKNOD, READ, WRITE = 1, 2, 4  # BPF_DEVCG_ACC_*, <linux/bpf.h>
ALL = MKNOD | READ | WRITE
_LETTERS = {"r": READ, "w": WRITE, "m": MKNOD}


class Rule:
    """A rule for the devices of `type` ("c" or "b") with these numbers; None is any. Type "a" means all devices."""

    def __init__(self, allow: bool, type_: str, major: "int | None", minor: "int | None", access: int) -> None:
        self.allow = allow
        self.type = type_
        self.major = major
        self.minor = minor
        self.access = access

    @property
    def device(self) -> "Device":
        """The key of the rule's devices in exceptions()."""
        return self.type, self.major, self.minor

    def __str__(self) -> str:
        return f"{device_text(self.device)} {access_text(self.access)}"


# As in runc: every node may be made; only /dev/null zero full random urandom tty, pseudo terminals, ptmx and tun may be
# opened.
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
    """Return all rules in their order: the first one, which denies everything, the config's, the defaults."""
    found = [Rule(False, "a", None, None, ALL)]
    for rule in resources.devices:
        found += parse(rule)
    return found + DEFAULTS


def parse(rule: DeviceRule) -> "list[Rule]":
    """Return `rule` as Rule objects. What it leaves out means "all"; "a" with a number or an access becomes two."""
    access = sum(_LETTERS.get(letter, 0) for letter in set(rule.access)) if rule.access else ALL
    if not access:
        return []
    whole = rule.type == "a" and rule.major is None and rule.minor is None and access == ALL
    types = "a" if whole else "cb" if rule.type == "a" else rule.type
    return [Rule(rule.allow, type_, rule.major, rule.minor, access) for type_ in types]


def in_force(resources: Resources) -> "list[Rule]":
    """Return the rules that a container gets. A rootless one gets none: it can only open what its user can."""
    return [] if rootless() else rules(resources)


def exceptions(found: "list[Rule]") -> "Exceptions":
    """Return the rules in v1's form: whether devices are allowed by default, and the access of each exception.

    v1 cannot express an exception to an exception: raises ConfigError.
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


def device_text(device: "Device") -> str:
    """Return the device as v1's files have it: "c 1:3", "b *:*"."""
    type_, major, minor = device
    return f"{type_} {'*' if major is None else major}:{'*' if minor is None else minor}"


def access_text(bits: int) -> str:
    """Return MKNOD, READ and WRITE as letters of "rwm"."""
    return "".join(letter for letter in "rwm" if bits & _LETTERS[letter])
