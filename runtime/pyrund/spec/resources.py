"""Limits: from HostConfig to linux.resources and process.rlimits."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_PERIOD = 100_000  # microseconds
# dockerd's words for limits that are not in force, because there are no cgroups.
_DISCARDED = (
    ("Memory", "memory limit capabilities or the cgroup is not mounted. Limitation discarded."),
    ("MemoryReservation", "memory soft limit capabilities or the cgroup is not mounted. Limitation discarded."),
    ("PidsLimit", "pids limit capabilities or the cgroup is not mounted. PIDs limit discarded."),
    ("CpuShares", "CPU shares or the cgroup is not mounted. Shares discarded."),
    ("CpuPeriod", "CPU CFS period or the cgroup is not mounted. Period discarded."),
    ("CpuQuota", "CPU CFS quota or the cgroup is not mounted. Quota discarded."),
    ("NanoCpus", "CPU CFS quota or the cgroup is not mounted. Quota discarded."),
    ("CpusetCpus", "cpuset or the cgroup is not mounted. Cpuset discarded."),
    ("BlkioWeight", "Block I/O weight or the cgroup is not mounted. Weight discarded."),
)
_UNSET = (None, 0, -1, "")


def resources(host: "Json") -> "Json":
    """Return linux.resources without devices and limits of disks, which are files (devices.py)."""
    found: Json = {}
    memory = {
        "limit": host.get("Memory"),
        "swap": host.get("MemorySwap"),
        "reservation": host.get("MemoryReservation"),
        "kernelTCP": host.get("KernelMemoryTCP"),
        "disableOOMKiller": host.get("OomKillDisable"),
    }
    cpu = {
        "shares": host.get("CpuShares"),
        "quota": host.get("CpuQuota"),
        "period": host.get("CpuPeriod"),
        "cpus": host.get("CpusetCpus"),
        "mems": host.get("CpusetMems"),
        "realtimePeriod": host.get("CpuRealtimePeriod"),
        "realtimeRuntime": host.get("CpuRealtimeRuntime"),
    }
    if host.get("NanoCpus"):
        cpu["quota"], cpu["period"] = host["NanoCpus"] * _PERIOD // 1_000_000_000, _PERIOD
    for name, limits in (("memory", memory), ("cpu", cpu)):
        given = {key: value for key, value in limits.items() if value}
        if given:
            found[name] = given
    swappiness = host.get("MemorySwappiness")
    if swappiness is not None and swappiness >= 0:
        found.setdefault("memory", {})["swappiness"] = swappiness
    if host.get("BlkioWeight"):
        found["blockIO"] = {"weight": host["BlkioWeight"]}
    if (host.get("PidsLimit") or 0) > 0:
        found["pids"] = {"limit": host["PidsLimit"]}
    return found


def discarded(host: "Json") -> "list[str]":
    """Return a warning for each limit that the client wants and that cannot be set without cgroups."""
    return [f"Your kernel does not support {text}" for name, text in _DISCARDED if host.get(name) not in _UNSET]


def rlimits(host: "Json") -> "list[Json]":
    """Return process.rlimits; -1 means that there is no limit."""
    return [
        {
            "type": f"RLIMIT_{one['Name'].upper()}",
            **{
                key: (1 << 64) - 1 if one[name] < 0 else one[name] for key, name in (("soft", "Soft"), ("hard", "Hard"))
            },
        }
        for one in host.get("Ulimits") or []
    ]
