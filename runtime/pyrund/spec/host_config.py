"""HostConfig: what docker's clients ask of the host. It is checked when a container is created.

An option that this engine does not have yet is refused by its name: a container must never run with less than its
creator believes.
"""

from foundation.linux import os, whole_file
from foundation.linux.capability import CAPABILITIES
from foundation.linux.cpu_list import is_list, numbers
from pyrund.errors import ApiError, missing
from pyrund.model import restart
from pyrund.spec import devices, log_config, mounts
from pyrund.spec.security import Security
from pyrund.spec.shape import FLAG, NUMBER, TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.settings import Settings
    from pyrund.spec.shape import Shape

    Json = dict[str, Any]

SHM_SIZE = 64 << 20
# Lists of what a container may use: the option, cpuset(7)'s word and docker's, and what the machine has.
_SETS = (
    ("CpusetCpus", "cpus", "CPUs", "/sys/devices/system/cpu/online"),
    ("CpusetMems", "mems", "memory nodes", "/sys/devices/system/node/online"),
)

_SMALLEST_MEMORY = 6 << 20
_RATE: "Shape" = {"Path": TEXT, "Rate": NUMBER}
# The type of HostConfig.
SHAPE: "Shape" = {
    **dict.fromkeys(
        (
            "ContainerIDFile NetworkMode CgroupParent PidMode IpcMode UTSMode UsernsMode CgroupnsMode Isolation "
            "Runtime VolumeDriver CpusetCpus CpusetMems"
        ).split(),
        TEXT,
    ),
    **dict.fromkeys(
        (
            "Memory MemorySwap MemoryReservation NanoCpus CpuShares CpuPeriod CpuQuota PidsLimit BlkioWeight ShmSize "
            "OomScoreAdj CpuRealtimePeriod CpuRealtimeRuntime MemorySwappiness KernelMemoryTCP KernelMemory CpuCount "
            "CpuPercent IOMaximumIOps IOMaximumBandwidth"
        ).split(),
        NUMBER,
    ),
    **dict.fromkeys("AutoRemove ReadonlyRootfs Init OomKillDisable PublishAllPorts Privileged".split(), FLAG),
    **dict.fromkeys(
        (
            "Binds CapAdd CapDrop ExtraHosts SecurityOpt GroupAdd MaskedPaths ReadonlyPaths VolumesFrom "
            "DeviceCgroupRules Dns DnsSearch DnsOptions Links"
        ).split(),
        [TEXT],
    ),
    **dict.fromkeys(("Tmpfs", "Sysctls", "Annotations"), {str: TEXT}),
    **dict.fromkeys(
        ("BlkioDeviceReadBps", "BlkioDeviceWriteBps", "BlkioDeviceReadIOps", "BlkioDeviceWriteIOps"), [_RATE]
    ),
    "BlkioWeightDevice": [{"Path": TEXT, "Weight": NUMBER}],
    "ConsoleSize": [NUMBER],
    "DeviceRequests": [{"Driver": TEXT, "Capabilities": [[TEXT]]}],
    "Devices": [dict.fromkeys(("PathOnHost", "PathInContainer", "CgroupPermissions"), TEXT)],
    "LogConfig": {"Type": TEXT, "Config": {str: TEXT}},
    "Mounts": [mounts.SHAPE],
    "PortBindings": {str: [{"HostIp": TEXT, "HostPort": TEXT}]},
    "RestartPolicy": {"Name": TEXT, "MaximumRetryCount": NUMBER},
    "Ulimits": [{"Name": TEXT, "Soft": NUMBER, "Hard": NUMBER}],
}
_PID_MODES = ("", "host", "private")
_IPC_MODES = ("", "private", "shareable", "host", "none")
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
            "MemorySwappiness KernelMemoryTCP PidMode IpcMode Dns DnsSearch DnsOptions Links Isolation KernelMemory "
            "CpuCount CpuPercent IOMaximumIOps IOMaximumBandwidth"
        ).split()
        + LIMITS
    ),
    "UTSMode": ("host",),
    "UsernsMode": ("host",),
    "CgroupnsMode": ("host", "private"),
    "Runtime": ("pyrun",),
    "VolumeDriver": ("local",),
}


def checked(given: "Json", settings: "Settings") -> "Json":
    """Return HostConfig with defaults filled in, some of which the administrator may have set. Raises ApiError."""
    check(given, SHAPE, "HostConfig")
    refuse_unknown(given)
    given = settings.with_log_defaults(given)
    _check_values(given)
    policy = restart.checked(given.get("RestartPolicy") or {}, bool(given.get("AutoRemove")))
    check_resources(given)
    ulimits = [_ulimit(limit) for limit in given.get("Ulimits") or []]
    for name in ("CapAdd", "CapDrop"):
        for text in given.get(name) or []:
            capability(text, name)
    Security(given.get("SecurityOpt") or [], False)
    devices.check(given)
    _check_modes(given)
    filled = dict(given)
    mode = given.get("NetworkMode") or "default"
    bridge = "bridge" if settings.has_bridge else "none"  # as dockerd does it
    filled["NetworkMode"] = bridge if mode in ("default", "bridge") else mode
    filled["IpcMode"] = given.get("IpcMode") or "private"
    filled["CgroupnsMode"] = cgroup_namespace(given)
    filled["LogConfig"] = log_config.checked(given.get("LogConfig") or {})
    filled["ShmSize"] = given.get("ShmSize") or SHM_SIZE
    filled["Runtime"] = "pyrun"
    filled["RestartPolicy"] = policy
    filled["Ulimits"] = ulimits or given.get("Ulimits")
    if (given.get("Memory") or 0) > 0 and not given.get("MemorySwap"):
        filled["MemorySwap"] = 2 * given["Memory"]
    return filled


def _check_values(given: "Json") -> None:
    for text in given.get("ExtraHosts") or []:
        if not text.partition(":")[2] or text.split() != [text]:
            raise ApiError(400, f'bad format for add-host: "{text[:80]}"')
    if len(given.get("ConsoleSize") or [0, 0]) != 2:
        raise ApiError(400, "invalid JSON: HostConfig.ConsoleSize: expected [height, width]")
    if (given.get("ShmSize") or 0) < 0:
        raise ApiError(400, "SHM size can not be less than 0")
    if (given.get("Isolation") or "default").lower() != "default":
        raise ApiError(400, f"Invalid isolation: \"{given['Isolation'][:80]}\" - linux only supports 'default'")
    adjustment = given.get("OomScoreAdj") or 0
    if not -1000 <= adjustment <= 1000:
        raise ApiError(400, f"Invalid value {adjustment}, range for oom score adj is [-1000, 1000]")


def _ulimit(given: "Json") -> "Json":
    """Return the limit of a resource with both of its values. Raises ApiError."""
    if given.get("Name") not in _LIMITS:
        raise ApiError(400, f"invalid ulimit type: {given.get('Name')}")
    soft, hard = given.get("Soft") or 0, given.get("Hard") or 0
    if soft > hard >= 0:
        raise ApiError(400, "ulimit soft limit must be less than or equal to hard limit")
    return {"Name": given["Name"], "Hard": hard, "Soft": soft}


def refuse_unknown(given: "Json") -> None:
    """Raise ApiError for an option that is not carried out."""
    for name, value in given.items():
        known = _KNOWN.get(name, ())
        if known is not None and not _is_unset(value) and value not in known:
            raise missing(f"HostConfig.{name}={str(value)[:80]}")


def capability(text: str, field: str) -> str:
    """Return CAP_NET_RAW of "net_raw", which stands in the `field`. Raises ApiError."""
    name = text.upper() if text.upper().startswith("CAP_") else f"CAP_{text.upper()}"
    if name not in (*CAPABILITIES, "CAP_ALL"):
        raise ApiError(400, f'invalid {field}: unknown capability: "{name[:80]}"')
    return name


def _check_modes(given: "Json") -> None:
    """Raise ApiError for namespaces that there cannot be."""
    for name, kind, words in (("PidMode", "PID", _PID_MODES), ("IpcMode", "IPC", _IPC_MODES)):
        mode = given.get(name) or ""
        if mode not in words and not (mode.startswith("container:") and mode != "container:"):
            raise ApiError(400, f"invalid {kind} mode: {mode[:80]}")


def cgroup_namespace(host: "Json") -> str:
    """Return CgroupnsMode; if the client has not chosen, private where cgroup v2 is all that there is."""
    return host.get("CgroupnsMode") or ("private" if os.path.exists("/sys/fs/cgroup/cgroup.controllers") else "host")


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
    reservation = given.get("MemoryReservation") or 0
    if 0 < reservation < _SMALLEST_MEMORY:
        raise ApiError(400, "Minimum memory reservation allowed is 6MB")
    if 0 < memory < reservation:
        raise ApiError(400, "Minimum memory limit can not be less than memory reservation limit, see usage")
    if not memory and swap > 0:
        raise ApiError(400, "You should always set the Memory limit when using Memoryswap limit, see usage")
    swappiness = given.get("MemorySwappiness")
    if swappiness is not None and not -1 <= swappiness <= 100:
        raise ApiError(400, f"Invalid value: {swappiness}, valid memory swappiness range is 0-100")
    _check_cpus(given, cpus)


def _check_cpus(given: "Json", cpus: int) -> None:
    here = len(os.sched_getaffinity(0))
    if cpus and not 10_000_000 <= cpus <= here * 1_000_000_000:
        raise ApiError(400, f"range of CPUs is from 0.01 to {here}.00, as there are only {here} CPUs available")
    if cpus and (given.get("CpuPeriod") or given.get("CpuQuota")):
        raise ApiError(400, "Conflicting options: Nano CPUs and CPU Period cannot both be set")
    if given.get("CpuPeriod") and not 1000 <= given["CpuPeriod"] <= 1_000_000:
        raise ApiError(400, "CPU cfs period can not be less than 1ms (i.e. 1000) or larger than 1s (i.e. 1000000)")
    if 0 < (given.get("CpuQuota") or 0) < 1000:
        raise ApiError(400, "CPU cfs quota can not be less than 1ms (i.e. 1000)")
    for name, what, words, path in _SETS:
        if given.get(name):
            _check_set(given[name], what, words, path)


def _check_set(wanted: str, what: str, words: str, path: str) -> None:
    """Raise ApiError, with docker's words, if the list of CPUs or memory nodes has one that the machine does not."""
    if not is_list(wanted):
        raise ApiError(400, f"Invalid value {wanted[:80]} for cpuset {what}")
    try:
        here = whole_file.read(path).decode().strip()
    except FileNotFoundError:
        here = "0"  # a kernel without NUMA
    if not set(numbers(wanted)) <= set(numbers(here)):
        raise ApiError(400, f"Requested {words} are not available - requested {wanted[:80]}, available: {here}")
