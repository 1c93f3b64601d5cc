"""Where the cgroups of a container are: mountinfo(5), cgroups(7).

A controller is in one hierarchy: one of v1, mounted by itself or with others (cpu,cpuacct), or the one of v2.  With
both (hybrid), v2 has the controllers that no v1 hierarchy has claimed.
"""

import os

from pyrun.cgroup.group import Cgroup
from pyrun.errors import ConfigError, Error


def locate(cgroups_path: str, container_id: str) -> Cgroup:
    """Return the cgroup that linux.cgroupsPath names, in every hierarchy that is mounted. Creates nothing."""
    path = clean(cgroups_path or f"/{container_id}")
    return Cgroup(place(path, _read("/proc/self/mountinfo"), _read("/proc/self/cgroup")))


def unified_directory(pid: int) -> str:
    """Return the v2 cgroup of the process `pid`."""
    return locate(_memberships(_read(f"/proc/{pid}/cgroup"))[""], "").paths[""]


def mount_points() -> "dict[str, str]":
    """Return where each controller's hierarchy is mounted, "" being that of v2."""
    mounts = _mounts(_read("/proc/self/mountinfo"), _memberships(_read("/proc/self/cgroup")))
    return {controller: mount_point for controller, (_, mount_point) in mounts.items()}


def clean(path: str) -> str:
    """Return linux.cgroupsPath without empty components; refuse what could leave the place it is relative to."""
    parts = [part for part in path.split("/") if part not in ("", ".")]
    if ".." in parts:
        raise ConfigError(f'config.json: linux.cgroupsPath: {path!r} contains ".."')
    if "\0" in path or "\n" in path:
        raise ConfigError(f"config.json: linux.cgroupsPath: {path!r} contains a NUL byte or a newline")
    if not parts:
        raise ConfigError(f"config.json: linux.cgroupsPath: {path!r} is the root cgroup; name one below it")
    return ("/" if path.startswith("/") else "") + "/".join(parts)


def place(path: str, mountinfo: str, membership: str) -> "dict[str, str]":
    """Return the directory of the cgroup `path` by controller, "" for the v2 hierarchy.

    runc and crun: an absolute path starts at the root of the mount, a relative one at the runtime's own cgroup.
    """
    own = _memberships(membership)
    mounts = _mounts(mountinfo, own)
    if not mounts:
        raise Error("no cgroup file system is mounted; try: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    if path.startswith("/"):
        return {controller: mount_point + path for controller, (_, mount_point) in mounts.items()}
    return {controller: f"{_own_directory(*mounts[controller], own[controller])}/{path}" for controller in mounts}


def _memberships(text: str) -> "dict[str, str]":
    """/proc/PID/cgroup, "4:cpu,cpuacct:/path" a line: the cgroup by controller."""
    own = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def _mounts(mountinfo: str, known: "dict[str, str]") -> "dict[str, tuple[str, str]]":
    """Return (root of the mount within its hierarchy, mount point) by controller."""
    by_mount_point = {}
    for line in mountinfo.splitlines():
        if " - cgroup" not in line:  # hosts have hundreds of other mounts
            continue
        if "/.criu.cgyard." in line:  # criu's own, while it is at work somewhere: gone before we could use it
            continue
        mount, _, file_system = line.partition(" - ")
        fstype, _, options = file_system.split(" ")
        root, mount_point = map(unescape, mount.split(" ")[3:5])
        # A mount hides what was mounted there before.
        by_mount_point[mount_point] = (root, [""] if fstype == "cgroup2" else options.split(","))
    mounts: dict[str, tuple[str, str]] = {}
    for mount_point, (root, names) in by_mount_point.items():
        for name in names:
            # Where a hierarchy is mounted more than once, the mount that shows the whole of it.
            if name in known and (name not in mounts or mounts[name][0] != "/" == root):
                mounts[name] = (root, mount_point)
    return mounts


def _own_directory(root: str, mount_point: str, own: str) -> str:
    """Return the directory of the cgroup `own`.

    The mount in a container may show only a part of the hierarchy, and that need not hold the runtime.  "/.." in either
    path is what lies outside the cgroup namespace: cgroup_namespaces(7).
    """
    root = root.rstrip("/")
    if not (own + "/").startswith(root + "/") or "/.." in own:
        raise Error(
            f"the cgroup mount {mount_point} does not show the runtime's own cgroup {own}; "
            "make linux.cgroupsPath absolute"
        )
    return mount_point + own[len(root) :].rstrip("/")


def unescape(text: str) -> str:
    """Spaces and the like are octal in mountinfo: "\\040"."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)


def _read(path: str) -> str:
    with open(path, "rb", buffering=0) as file:
        return os.fsdecode(file.read())
