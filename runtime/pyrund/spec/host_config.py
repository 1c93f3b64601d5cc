"""HostConfig: what docker's clients ask of the host. It is checked when a container is created.

An option that this engine does not have yet is refused by its name: a container must never run with less than its
creator believes.
"""

from foundation.linux import os
from foundation.linux.capability import CAPABILITIES
from pyrund.errors import ApiError, missing
from pyrund.model import restart
from pyrund.spec import devices, log_config
from pyrund.spec.security import Security

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

SHM_SIZE = 64 << 20

_SMALLEST_MEMORY = 6 << 20
_LISTS = (
    "Binds CapAdd CapDrop ExtraHosts SecurityOpt GroupAdd MaskedPaths ReadonlyPaths VolumesFrom DeviceCgroupRules Dns "
    "DnsSearch DnsOptions Links"
).split()
_MAPS = ("Tmpfs", "Sysctls", "Annotations")
_LIMITS = (
    "core cpu data fsize locks memlock msgqueue nice nofile nproc rss rtprio rttime sigpending stack".split()
)  # of prlimit(1), which docker's --ulimit takes
# What can be changed of a container that runs.
LIMITS = (
    "Memory MemorySwap MemoryReservation NanoCpus CpuShares CpuPeriod CpuQuota CpusetCpus CpusetMems PidsLimit "
    "BlkioWeight"
).split()
# What is carried out, or stands for nothing on Linux; with the values that are understood, if those are few.
_KNOWN: "dict[str, tuple[object, ...] | None]" = {
    **dict.fromkeys(
        (
            "Binds Mounts Tmpfs ContainerIDFile LogConfig NetworkMode AutoRemove ConsoleSize CapAdd CapDrop ExtraHosts "
            "ReadonlyRootfs SecurityOpt ShmSize OomScoreAdj Ulimits Sysctls Init CgroupParent Annotations "
            "OomKillDisable GroupAdd MaskedPaths ReadonlyPaths VolumesFrom RestartPolicy PortBindings PublishAllPorts "
            "Privileged Devices DeviceCgroupRules DeviceRequests BlkioWeightDevice BlkioDeviceReadBps "
            "BlkioDeviceWriteBps BlkioDeviceReadIOps BlkioDeviceWriteIOps CpuRealtimePeriod CpuRealtimeRuntime "
            "MemorySwappiness KernelMemoryTCP PidMode Dns DnsSearch DnsOptions Links"
        ).split()
        + LIMITS
    ),
    "IpcMode": ("private", "shareable", "host", "none"),
    "UTSMode": ("host",),
    "UsernsMode": ("host",),
    "CgroupnsMode": ("host", "private"),
    "Isolation": ("default",),
    "Runtime": ("pyrun",),
    "VolumeDriver": ("local",),
}


def checked(given: "Json") -> "Json":
    """Return HostConfig with defaults filled in. Raises ApiError."""
    _check_types(given)
    refuse_unknown(given)
    policy = restart.checked(given.get("RestartPolicy") or {}, bool(given.get("AutoRemove")))
    check_resources(given)
    for limit in given.get("Ulimits") or []:
        if limit.get("Name") not in _LIMITS:
            raise ApiError(400, f"invalid ulimit type: {limit.get('Name')}")
        if limit.get("Soft", 0) > limit.get("Hard", 0) >= 0:
            raise ApiError(400, "ulimit soft limit must be less than or equal to hard limit")
    for text in [*(given.get("CapAdd") or []), *(given.get("CapDrop") or [])]:
        capability(text)
    Security(given.get("SecurityOpt") or [], False)
    devices.check(given)
    _check_pid_mode(given.get("PidMode") or "")
    filled = dict(given)
    mode = given.get("NetworkMode") or "default"
    filled["NetworkMode"] = "bridge" if mode == "default" else mode
    filled["LogConfig"] = log_config.checked(given.get("LogConfig") or {})
    filled["ShmSize"] = given.get("ShmSize") or SHM_SIZE
    filled["Runtime"] = "pyrun"
    filled["RestartPolicy"] = policy
    if given.get("Memory") and not given.get("MemorySwap"):
        filled["MemorySwap"] = 2 * given["Memory"]
    return filled


def refuse_unknown(given: "Json") -> None:
    """Raise ApiError for an option that is not carried out."""
    for name, value in given.items():
        known = _KNOWN.get(name, ())
        if known is not None and not _is_unset(value) and value not in known:
            raise missing(f"HostConfig.{name}={str(value)[:80]}")


def _check_types(given: "Json") -> None:
    for name in _LISTS:
        value = given.get(name) or []
        if not isinstance(value, list) or not all(isinstance(one, str) and "\0" not in one for one in value):
            raise ApiError(400, f"invalid JSON: HostConfig.{name}: expected strings")
    for name in _MAPS:
        value = given.get(name) or {}
        if not isinstance(value, dict) or not all(isinstance(one, str) and "\0" not in one for one in value.values()):
            raise ApiError(400, f"invalid JSON: HostConfig.{name}: expected an object of strings")
    for text in given.get("ExtraHosts") or []:
        if not text.partition(":")[2] or text.split() != [text]:
            raise ApiError(400, f'bad format for add-host: "{text[:80]}"')


def capability(text: str) -> str:
    """Return CAP_NET_RAW of "net_raw". Raises ApiError."""
    name = text.upper() if text.upper().startswith("CAP_") else f"CAP_{text.upper()}"
    if name not in (*CAPABILITIES, "CAP_ALL"):
        raise ApiError(400, f'invalid CapAdd: unknown capability: "{text[:80]}"')
    return name


def _check_pid_mode(mode: str) -> None:
    if mode not in ("", "host", "private") and not mode.startswith("container:"):
        raise ApiError(400, f"invalid PID mode: {mode[:80]}")


def _is_unset(value: object) -> bool:
    """Return whether docker's clients send the value for an option that nobody has given."""
    return not value or value == [0, 0]


def check_resources(given: "Json") -> None:
    """Raise ApiError, with docker's words, for limits that cannot be set, or not together."""
    memory, swap, cpus = (given.get(name) or 0 for name in ("Memory", "MemorySwap", "NanoCpus"))
    if 0 < memory < _SMALLEST_MEMORY:
        raise ApiError(400, "Minimum memory limit allowed is 6MB")
    if memory > 0 and 0 < swap < memory:
        raise ApiError(400, "Minimum memoryswap limit should be larger than memory limit, see usage")
    if not memory and swap > 0:
        raise ApiError(400, "You should always set the Memory limit when using Memoryswap limit, see usage")
    swappiness = given.get("MemorySwappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise ApiError(400, f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    here = len(os.sched_getaffinity(0))
    if cpus and not 10_000_000 <= cpus <= here * 1_000_000_000:
        raise ApiError(400, f"range of CPUs is from 0.01 to {here}.00, as there are only {here} CPUs available")
    if cpus and (given.get("CpuPeriod") or given.get("CpuQuota")):
        raise ApiError(400, "Conflicting options: Nano CPUs and CPU Period cannot both be set")
