"""The directories of a container's cgroups: mountinfo(5), cgroups(7).

A controller is in one hierarchy: in a v1 hierarchy, alone or with others (cpu,cpuacct), or in the v2 hierarchy.  On a
hybrid system v2 has the controllers that no v1 hierarchy has claimed.
"""

from foundation.errors import Error
from foundation.linux import os, whole_file
from foundation.linux.mountinfo import parse
from pyrun.errors import ConfigError


def directories(cgroups_path: str, container_id: str) -> "dict[str, str]":
    """Return the directory of the cgroup that linux.cgroupsPath names, by controller; "" is the v2 hierarchy.

    Raises ConfigError for a bad path, Error if no cgroup file system is mounted.
    """
    path = clean(cgroups_path or f"/{container_id}")
    return place(path, _read("/proc/self/mountinfo"), _read("/proc/self/cgroup"))


def unified_directory(pid: int) -> str:
    """Return the directory of the v2 cgroup of the process `pid`."""
    return directories(_memberships(_read(f"/proc/{pid}/cgroup"))[""], "")[""]


def mount_points() -> "dict[str, str]":
    """Return the mount point of each controller's hierarchy; "" is v2's."""
    mounts = _mounts(_read("/proc/self/mountinfo"), _memberships(_read("/proc/self/cgroup")))
    return {controller: mount_point for controller, (_, mount_point) in mounts.items()}


def clean(path: str) -> str:
    """Return linux.cgroupsPath without empty components. Raises ConfigError if it has ".." or is the root cgroup."""
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

    As with runc and crun, an absolute path starts at the root of the mount, a relative one at the runtime's own cgroup.
    """
    own = _memberships(membership)
    mounts = _mounts(mountinfo, own)
    if not mounts:
        raise Error("no cgroup file system is mounted; try: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    if path.startswith("/"):
        return {controller: mount_point + path for controller, (_, mount_point) in mounts.items()}
    return {controller: f"{_own_directory(*mounts[controller], own[controller])}/{path}" for controller in mounts}


def _memberships(text: str) -> "dict[str, str]":
    """Return the cgroup by controller, from lines of /proc/PID/cgroup like "4:cpu,cpuacct:/path"."""
    own = {}
    for line in text.splitlines():
        _, controllers, path = line.split(":", 2)
        for controller in controllers.split(","):
            own[controller] = path
    return own


def _mounts(mountinfo: str, known: "dict[str, str]") -> "dict[str, tuple[str, str]]":
    """Return (root of the mount within its hierarchy, mount point) by controller."""
    by_mount_point = {}
    for mounted in parse(mountinfo, containing=" - cgroup"):
        if "/.criu.cgyard." in mounted.path:  # a temporary mount of a running criu, which may disappear at any time
            continue
        # A later mount at the same path hides the earlier one.
        by_mount_point[mounted.path] = (mounted.root, [""] if mounted.type == "cgroup2" else mounted.options)
    mounts: dict[str, tuple[str, str]] = {}
    for mount_point, (root, names) in by_mount_point.items():
        for name in names:
            # If a hierarchy is mounted more than once, take the mount that shows all of it.
            if name in known and (name not in mounts or mounts[name][0] != "/" == root):
                mounts[name] = (root, mount_point)
    return mounts


def _own_directory(root: str, mount_point: str, own: str) -> str:
    """Return the directory of the runtime's cgroup `own`.

    Inside a container the mount may show only a part of the hierarchy, without the runtime's cgroup.  "/.." in a path
    stands for a cgroup outside of the cgroup namespace: cgroup_namespaces(7).
    """
    root = root.rstrip("/")
    if not (own + "/").startswith(root + "/") or "/.." in own:
        raise Error(
            f"the cgroup mount {mount_point} does not show the runtime's own cgroup {own}; "
            "make linux.cgroupsPath absolute"
        )
    return mount_point + own[len(root) :].rstrip("/")


def _read(path: str) -> str:
    return os.fsdecode(whole_file.read(path))
