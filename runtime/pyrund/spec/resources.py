"""Limits: from HostConfig to linux.resources and process.rlimits."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_PERIOD = 100_000  # microseconds


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


def rlimits(host: "Json") -> "list[Json]":
    """Return process.rlimits; -1 is no limit."""
    return [
        {
            "type": f"RLIMIT_{one['Name'].upper()}",
            **{
                key: (1 << 64) - 1 if one[name] < 0 else one[name] for key, name in (("soft", "Soft"), ("hard", "Hard"))
            },
        }
        for one in host.get("Ulimits") or []
    ]
