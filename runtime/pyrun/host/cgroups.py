"""The cgroups: which version, which controllers, and whether we may create cgroups."""

from foundation.errors import Error
from foundation.linux import os
from foundation.rootless import rootless
from pyrun.cgroup.hierarchies import place
from pyrun.host import LIMITED, MISSING, OK, Finding, read

# controller of v1, controller of v2, what is refused without it
_CONTROLLERS = (
    ("memory", "memory", "limits of memory"),
    ("pids", "pids", "linux.resources.pids"),
    ("cpu", "cpu", "CPU shares and quotas"),
    ("cpuset", "cpuset", "cpus and mems"),
    ("blkio", "io", "linux.resources.blockIO"),
    ("hugetlb", "hugetlb", "hugepageLimits"),
    ("devices", "", "device rules"),
    ("freezer", "", "pause and resume"),
)


def findings() -> "list[Finding]":
    mounts = _mounts()
    if not mounts:
        meaning = "no container can be made: each has a cgroup"
        return [Finding("cgroup", "layout", MISSING, "not mounted", meaning, "mount -t cgroup2 cgroup2 /sys/fs/cgroup")]
    names = [name for name in mounts if name]
    layout = "v2" if not names else "hybrid: v1 and v2" if "" in mounts else "v1"
    unified = mounts.get("", "")
    shared_out = read(f"{unified}/cgroup.controllers").split() if unified else []
    found = [Finding("cgroup", "layout", OK, layout)]
    found += [_controller(*one, mounts, shared_out) for one in _CONTROLLERS]
    return [*found, _writable(mounts)]


def _mounts() -> "dict[str, str]":
    """Return the mount point by controller, "" for v2."""
    try:
        placed = place("/", read("/proc/self/mountinfo"), read("/proc/self/cgroup"))
    except Error:
        return {}  # none is mounted
    return {controller: path.rstrip("/") for controller, path in placed.items()}


def _controller(v1: str, v2: str, purpose: str, mounts: "dict[str, str]", shared_out: "list[str]") -> Finding:
    unified = mounts.get("", "")
    if v1 in mounts:
        return Finding("cgroup", v1, OK, f"v1, {mounts[v1]}")
    if v2 and v2 in shared_out:
        return Finding("cgroup", v1, OK, f"v2, {unified}")
    if not v2 and unified:
        return Finding("cgroup", v1, OK, "v2, an eBPF program" if v1 == "devices" else "v2, cgroup.freeze")
    return Finding("cgroup", v1, LIMITED, "not there", f"{purpose}: refused, by name", _remedy(v1, v2, unified))


def _remedy(v1: str, v2: str, unified: str) -> str:
    enabled = {line.split()[0]: line.split()[3] for line in read("/proc/cgroups").splitlines()[1:]}
    if enabled.get(v1) == "0":
        return f"add cgroup_enable={v1} to the kernel's command line"
    if v2 and unified and rootless():
        return "systemctl edit user@.service  # [Service] Delegate=cpu cpuset io memory pids"
    if v1 not in enabled or not os.path.isdir("/sys/fs/cgroup"):
        return ""
    return f"mkdir -p /sys/fs/cgroup/{v1} && mount -t cgroup -o {v1} cgroup /sys/fs/cgroup/{v1}"


def _writable(mounts: "dict[str, str]") -> Finding:
    refused = [path for path in dict.fromkeys(mounts.values()) if not os.access(path, os.W_OK)]
    if not refused:
        return Finding("cgroup", "writable", OK, "yes")
    meaning = f"cgroups cannot be made in {refused[0]}"
    if rootless():
        remedy = "systemctl edit user@.service  # [Service] Delegate=cpu cpuset io memory pids"
        return Finding("cgroup", "writable", LIMITED, "no", f"{meaning}: containers have no limits", remedy)
    return Finding("cgroup", "writable", MISSING, "no", meaning, f"mount -o remount,rw {refused[0]}")
