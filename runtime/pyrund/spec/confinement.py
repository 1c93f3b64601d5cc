"""What confines a container: capabilities, filter, devices, and which parts of /proc and /sys it may see and change."""

from foundation.linux.capability import CAPABILITIES
from pyrun.confine.labels import apparmor_is_enabled
from pyrund.spec import devices
from pyrund.spec.host_config import capability
from pyrund.spec.security import Security, filter_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_BIT_NUMBERS = {name: number for number, name in enumerate(CAPABILITIES)}
_KERNEL_MOUNTS = ("sysfs", "cgroup", "proc")


def confine(made: "Json", host: "Json") -> None:
    """Write what HostConfig says into `made`, config.json. A worker calls it: it looks at devices. Raises ApiError."""
    process, linux = made["process"], made["linux"]
    is_privileged = bool(host.get("Privileged"))
    names = capabilities(process["capabilities"]["bounding"], host)
    process["capabilities"] = dict.fromkeys(process["capabilities"], names)
    security = Security(host.get("SecurityOpt") or [], is_privileged)
    process["noNewPrivileges"] = security.no_new_privileges
    if security.apparmor and apparmor_is_enabled():  # as with dockerd, what is not there confines nobody
        process["apparmorProfile"] = security.apparmor
    if security.seccomp is None:
        del linux["seccomp"]
    else:
        linux["seccomp"] = filter_of(security.seccomp, names)
    nodes, linux["resources"]["devices"] = devices.nodes_and_rules(host)
    if nodes:
        linux["devices"] = nodes
    limits = devices.block_io(host)
    if limits:
        linux["resources"]["blockIO"] = {**linux["resources"].get("blockIO", {}), **limits}
    for name, paths in (("maskedPaths", host.get("MaskedPaths")), ("readonlyPaths", host.get("ReadonlyPaths"))):
        if paths is not None or is_privileged:
            linux[name] = paths or []
    if is_privileged:
        for mount in made["mounts"]:
            if mount["type"] in _KERNEL_MOUNTS:
                mount["options"] = [option for option in mount["options"] if option != "ro"]


def capabilities(default: "list[str]", host: "Json") -> "list[str]":
    """Return the capabilities; of "all", those that this machine has to give."""
    added, dropped = ({capability(text, name) for text in host.get(name) or []} for name in ("CapAdd", "CapDrop"))
    if host.get("Privileged"):
        return every_capability()
    names = set() if "CAP_ALL" in dropped else set(default)
    if "CAP_ALL" in added:
        names = set(every_capability())
    return sorted((names - dropped | added) - {"CAP_ALL"})


def every_capability() -> "list[str]":
    """Return the names of our bounding set."""
    with open("/proc/self/status", "rb") as file:
        line = next(line for line in file if line.startswith(b"CapBnd:"))
    ours = int(line.split()[1], 16)
    return sorted(name for name, number in _BIT_NUMBERS.items() if ours >> number & 1)
