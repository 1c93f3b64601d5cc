"""Devices of the host: from --device, --device-cgroup-rule, --privileged and limits of disks to config.json.

Workers call what looks at files: those of a device may be on any file system.
"""

import stat

from foundation.linux import os
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_ACCESS = frozenset("rwm")
_ALL: "Json" = {"allow": True, "access": "rwm"}
_LEFT_OUT = ("pts", "ptmx", "shm", "fd", "mqueue", "console")  # of /dev: the container has its own
_RATES = {
    "BlkioDeviceReadBps": "throttleReadBpsDevice",
    "BlkioDeviceWriteBps": "throttleWriteBpsDevice",
    "BlkioDeviceReadIOps": "throttleReadIOPSDevice",
    "BlkioDeviceWriteIOps": "throttleWriteIOPSDevice",
}


def check(host: "Json") -> None:
    """Raise ApiError, with docker's words, for what makes no sense; the types are right."""
    for device in host.get("Devices") or []:
        access = device.get("CgroupPermissions") or "rwm"
        if not _ACCESS.issuperset(access):
            raise ApiError(400, f"invalid device mode: {access[:80]}")
        if not (device.get("PathOnHost") or "").startswith("/"):
            raise ApiError(400, f"invalid device path: {(device.get('PathOnHost') or '')[:200]}")
    for text in host.get("DeviceCgroupRules") or []:
        _rule(text)
    for request in host.get("DeviceRequests") or []:
        driver, wanted = request.get("Driver") or "", request.get("Capabilities") or []
        shown = " ".join(f"[{' '.join(some)}]" for some in wanted)
        raise ApiError(400, f'could not select device driver "{driver[:80]}" with capabilities: [{shown[:200]}]')
    for name, value in (*((name, "Rate") for name in _RATES), ("BlkioWeightDevice", "Weight")):
        for one in host.get(name) or []:
            if not one.get("Path") or one.get(value) is None or one[value] < 0:
                raise ApiError(400, f"invalid JSON: HostConfig.{name}: expected a Path and a {value}")
    weights = [host.get("BlkioWeight"), *(one.get("Weight") for one in host.get("BlkioWeightDevice") or [])]
    if any(weight and not 10 <= weight <= 1000 for weight in weights):
        raise ApiError(400, "Range of blkio weight is from 10 to 1000")


def nodes_and_rules(host: "Json") -> "tuple[list[Json], list[Json]]":
    """Return linux.devices and linux.resources.devices. Raises ApiError if a device is missing."""
    nodes: list[Json] = []
    rules = [{"allow": False, "access": "rwm"}]
    for device in host.get("Devices") or []:
        path = device["PathOnHost"]
        found = _found(path, device.get("PathInContainer") or path)
        if not found:
            why = "not a device node" if os.path.exists(path) else "no such file or directory"
            raise ApiError(400, f'error gathering device information while adding custom device "{path}": {why}')
        nodes += found
        access = device.get("CgroupPermissions") or "rwm"
        rules += [_allowed(node["type"], node["major"], node["minor"], access) for node in found]
    rules += [_rule(text) for text in host.get("DeviceCgroupRules") or []]
    if host.get("Privileged"):
        taken = {node["path"] for node in nodes}
        nodes += [node for node in _found("/dev", "/dev") if node["path"] not in taken]
        rules = [_ALL]
    return nodes, rules


def block_io(host: "Json") -> "Json":
    """Return the limits of disks for linux.resources.blockIO. Raises ApiError if one is missing."""
    found: Json = {}
    for name, key in _RATES.items():
        limits = [{**_disk(one["Path"]), "rate": int(one["Rate"])} for one in host.get(name) or []]
        if limits:
            found[key] = limits
    weights = [{**_disk(one["Path"]), "weight": int(one["Weight"])} for one in host.get("BlkioWeightDevice") or []]
    if weights:
        found["weightDevice"] = weights
    return found


def _disk(path: str) -> "Json":
    try:
        device = os.stat(path).st_rdev
    except OSError as error:
        raise ApiError(400, f"{path}: {error.strerror}") from None
    return {"major": os.major(device), "minor": os.minor(device)}


def _found(path: str, inside: str) -> "list[Json]":
    """Return the device `path` of the host, or all that are in the directory; [] if there is nothing."""
    try:
        status = os.stat(path)
    except OSError:
        return []
    if not stat.S_ISDIR(status.st_mode):
        return [_node(status, inside)] if stat.S_ISCHR(status.st_mode) or stat.S_ISBLK(status.st_mode) else []
    found = []
    for name in sorted(os.listdir(path)):
        below = f"{path}/{name}"
        if not os.path.islink(below) and name not in _LEFT_OUT:
            found += _found(below, f"{inside}/{name}")
    return found


def _node(status: "os.stat_result", inside: str) -> "Json":
    return {
        "path": inside,
        "type": "b" if stat.S_ISBLK(status.st_mode) else "c",
        "major": os.major(status.st_rdev),
        "minor": os.minor(status.st_rdev),
        "fileMode": stat.S_IMODE(status.st_mode),
        "uid": status.st_uid,
        "gid": status.st_gid,
    }


def _allowed(kind: str, major: int, minor: int, access: str) -> "Json":
    return {"allow": True, "type": kind, "major": major, "minor": minor, "access": access}


def _rule(text: str) -> "Json":
    """Return the rule for "c 42:* rwm". Raises ApiError."""
    words = text.split(" ")
    numbers = words[1].split(":") if len(words) == 3 else []
    is_valid = len(numbers) == 2 and all(one == "*" or (one.isascii() and one.isdigit()) for one in numbers)
    if not is_valid or words[0] not in ("a", "b", "c") or not words[2] or not _ACCESS.issuperset(words[2]):
        raise ApiError(400, f"invalid device cgroup rule format: '{text[:80]}'")
    major, minor = (-1 if one == "*" else int(one) for one in numbers)
    return _allowed(words[0], major, minor, words[2])
