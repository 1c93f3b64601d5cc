"""Device rules that are added while a container runs: update --device-add and --device-remove.

They follow the config's rules and the defaults, and state.json keeps them in the format of config.json. On each cgroup
version the change is made without a moment in which any other device is allowed or denied.
"""

from foundation.errors import Error
from foundation.rootless import rootless
from pyrun.cgroup.controller import Controller
from pyrun.cgroup.device_rules import Rule, access_text, device_text, exceptions, parse, rules
from pyrun.cgroup.devices import attach, write
from pyrun.cgroup.driver import Driver
from pyrun.config.linux import DeviceRule, Resources
from pyrun.config.node import Node
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.device_rules import Exceptions

_DIGITS = 10


def read(option: str, text: str, allow: bool) -> "dict[str, Any]":
    """Return `text`, in the format of docker's --device-cgroup-rule, as an entry of linux.resources.devices.

    Raises UsageError that names `option`.
    """
    words = text.split(" ")
    type_, numbers, access = words if len(words) == 3 else ("", "", "")
    major, colon, minor = numbers.partition(":")
    well_formed = type_ in ("a", "b", "c") and colon and _is_number(major) and _is_number(minor)
    if not (well_formed and access and not access.strip("rwm")):
        raise UsageError(
            f'invalid value "{text}" for flag -{option}: expected TYPE MAJOR:MINOR ACCESS, like "c 10:200 rwm"'
        )
    if not allow:
        # The defaults allow every container to make any node with mknod(2); the rules decide which ones it may open.
        access = access.replace("m", "")
        if not access:
            raise UsageError(f'invalid value "{text}" for flag -{option}: making a node is allowed to every container')
    rule: dict[str, Any] = {"allow": allow, "type": type_, "access": access}
    for name, number in (("major", major), ("minor", minor)):
        if number != "*":
            rule[name] = int(number)
    return rule


def _is_number(text: str) -> bool:
    return text == "*" or (text.isascii() and text.isdigit() and len(text) <= _DIGITS and int(text) < 1 << 32)


def merge(changes: "list[dict[str, Any]]", new: "list[dict[str, Any]]") -> "list[dict[str, Any]]":
    """Return `changes` followed by `new`, without rules that a later rule for the same device overrules."""
    for rule in new:
        changes = [one for one in changes if not _overrules(rule, one)] + [rule]
    return changes


def _overrules(later: "dict[str, Any]", rule: "dict[str, Any]") -> bool:
    same = all(later.get(name) == rule.get(name) for name in ("type", "major", "minor"))
    return same and set(rule["access"]) <= set(later["access"])


def apply(cgroup: Driver, resources: Resources, before: "list[dict[str, Any]]", after: "list[dict[str, Any]]") -> None:
    """Replace the changes `before` by `after` in the rules in force; `resources` are the config's.

    Raises Error for a rootless container, which has no device rules, or if there is no devices controller.
    """
    if rootless():
        raise Error("a rootless container has no device rules: what it may open is what its user may")
    new = rules(resources) + parsed(after)
    if "devices" in cgroup.paths:
        old, wanted = exceptions(rules(resources) + parsed(before)), exceptions(new)
        cgroup.announce(new)
        _rewrite(Controller(cgroup.paths["devices"], v2=False), old, wanted)
    elif "" in cgroup.paths:
        cgroup.announce(new)
        attach(cgroup.paths[""], new)
    else:
        raise Error("cgroup controller devices is not available")


def parsed(changes: "list[dict[str, Any]]") -> "list[Rule]":
    """Return the rules of state.json (see read()) as Rule objects."""
    return [rule for change in changes for rule in parse(DeviceRule(Node.root(change, "device rule")))]


def _rewrite(controller: Controller, old: "Exceptions", new: "Exceptions") -> None:
    """Write only the exceptions that differ, unless the default differs, too."""
    (default, before), (new_default, after) = old, new
    if default != new_default:
        return write(controller, new_default, after)
    allow, deny = "devices.allow", "devices.deny"
    for device in {**before, **after}:
        was, is_ = before.get(device, 0), after.get(device, 0)
        for file, bits in ((deny if default else allow, is_ & ~was), (allow if default else deny, was & ~is_)):
            if bits:
                controller.write(file, f"{device_text(device)} {access_text(bits)}")
