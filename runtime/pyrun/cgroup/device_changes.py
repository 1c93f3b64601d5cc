"""Device rules that a container gets or loses while it runs: update --device-add and --device-remove.

They come after the config's rules and the defaults, and are kept in the container's state as config.json would have
them. Each version gets from the old rules to the new ones without a moment in which anything else is allowed or denied.
"""

from pyrun.cgroup.controller import Controller
from pyrun.cgroup.devices import Rule, access_text, attach, device_text, exceptions, parse, rules, write
from pyrun.cgroup.group import Cgroup
from pyrun.errors import Error, UsageError
from pyrun.rootless import rootless
from pyrun.spec.linux import DeviceRule, Resources
from pyrun.spec.node import root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cgroup.devices import Exceptions

_DIGITS = 10


def read(option: str, text: str, allow: bool) -> "dict[str, Any]":
    """Return the rule `text`, which docker's --device-cgroup-rule takes too, as an entry of linux.resources.devices."""
    words = text.split(" ")
    type_, numbers, access = words if len(words) == 3 else ("", "", "")
    major, colon, minor = numbers.partition(":")
    well_formed = type_ in ("a", "b", "c") and colon and _is_number(major) and _is_number(minor)
    if not (well_formed and access and not access.strip("rwm")):
        raise UsageError(
            f'invalid value "{text}" for flag -{option}: expected TYPE MAJOR:MINOR ACCESS, like "c 10:200 rwm"'
        )
    if not allow:
        # mknod(2) alone gives nothing: every container may make any node, and open those that its rules allow.
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
    """Return both, without what a later rule for the same device overrules."""
    for rule in new:
        changes = [one for one in changes if not _overrules(rule, one)] + [rule]
    return changes


def _overrules(later: "dict[str, Any]", rule: "dict[str, Any]") -> bool:
    same = all(later.get(name) == rule.get(name) for name in ("type", "major", "minor"))
    return same and set(rule["access"]) <= set(later["access"])


def apply(cgroup: Cgroup, resources: Resources, before: "list[dict[str, Any]]", after: "list[dict[str, Any]]") -> None:
    """Go from the rules with the changes `before` to those with `after`; `resources` are the config's."""
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
    return [rule for change in changes for rule in parse(DeviceRule(root(change, "device rule")))]


def _rewrite(controller: Controller, old: "Exceptions", new: "Exceptions") -> None:
    """Write what differs."""
    (default, before), (new_default, after) = old, new
    if default != new_default:
        return write(controller, new_default, after)
    allow, deny = "devices.allow", "devices.deny"
    for device in {**before, **after}:
        was, is_ = before.get(device, 0), after.get(device, 0)
        for file, bits in ((deny if default else allow, is_ & ~was), (allow if default else deny, was & ~is_)):
            if bits:
                controller.write(file, f"{device_text(device)} {access_text(bits)}")
