"""config.json of a container. pyfetch makes it, as for a bundle of the image; what the client has asked is added."""

import json

from foundation.linux import os, whole_file
from foundation.linux.opened import opened
from foundation.rootless import has_one_id
from pyfetch.bundle.runtime_config import IdMappings, Settings, runtime_config
from pyfetch.bundle.users import User
from pyfetch.image.document import Document
from pyfetch.image.manifest import ImageConfig
from pyrund.errors import ApiError
from pyrund.spec.confinement import confine
from pyrund.spec.host_config import cgroup_namespace
from pyrund.spec.links import environment
from pyrund.spec.mounts import check_propagation, of_container, prepare_sources
from pyrund.spec.name_files import has_own_name_servers, name_files, own_name_servers, share
from pyrund.spec.resources import resources, rlimits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.container import Container

    Json = dict[str, Any]

_OF_SHARED_MEMORY = ("nosuid", "noexec", "nodev")
_CGROUP_PARENT = "/docker"
_LAST_GROUP = (1 << 31) - 1  # of ping_group_range


class Joined:
    """Whose namespaces a container joins: the pids of other containers' inits, 0 for none.

    bundle   that of the container whose network it is
    """

    def __init__(self) -> None:
        self.pid = self.ipc = self.network = 0
        self.bundle = ""

    @property
    def pids(self) -> "tuple[int, int, int]":
        return self.pid, self.ipc, self.network


def write_bundle(container: "Container", user: User, joined: Joined) -> None:
    """Write config.json and the files that are bound over the image's into the container's bundle."""
    settings = _settings(container)
    folder = container.places.bundle(container.id)
    files = name_files(container, settings)
    files["config.json"] = json.dumps(config_json(container, settings, user, joined))
    for name, text in files.items():
        mode = 0o600 if name.endswith(".json") else 0o644
        path = f"{folder}/{name}"
        # The container may have written to its own copies, but cannot have replaced them: they are bound.
        with opened(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, mode)) as fd:
            whole_file.write_all(fd, os.fsencode(text))
    mounts = of_container(container)
    prepare_sources(mounts)
    check_propagation(mounts, container.places.is_rootless)


def config_json(container: "Container", settings: Settings, user: User, joined: Joined) -> "Json":
    host, config = container.host_config, container.config
    made: Json = runtime_config(_as_image(config), settings, user, IdMappings([], []), lambda text: None)
    process, linux = made["process"], made["linux"]
    unset = {entry for entry in config["Env"] if "=" not in entry}
    process["env"] = [entry for entry in process["env"] if entry.partition("=")[0] not in unset]
    own = {entry.partition("=")[0] for entry in process["env"]}
    process["env"] += [entry for entry in environment(container) if entry.partition("=")[0] not in own]
    process["user"] = user_json(user)
    process["rlimits"] = rlimits(host)
    process["oomScoreAdj"] = host.get("OomScoreAdj") or 0
    if container.places.is_rootless:
        _spare_privileges(made)
    height, width = host.get("ConsoleSize") or (0, 0)
    if config["Tty"] and height and width:
        process["consoleSize"] = {"height": height, "width": width}
    if config["Domainname"]:
        made["domainname"] = config["Domainname"]
    if joined.network:
        share(made, joined.bundle)
    elif has_own_name_servers(container):
        own_name_servers(made)
    if host.get("ReadonlyRootfs"):
        _make_read_only(made)
    made["annotations"] = host.get("Annotations") or {}
    made["mounts"] = _mounts(made["mounts"], container)
    linux["resources"] = resources(host)
    if container.places.systemd:
        linux["cgroupsPath"] = f"{host.get('CgroupParent') or ''}:docker:{container.id}"
    elif container.places.has_cgroups:
        linux["cgroupsPath"] = f"{host.get('CgroupParent') or _CGROUP_PARENT}/{container.id}"
    _join_namespaces(made, host, joined)
    _share_memory(made, host, joined, container.places.is_rootless)
    linux["sysctl"] = {
        **({} if settings.network == "host" or joined.network else _ports_for_all()),
        **(host.get("Sysctls") or {}),
    }
    confine(made, host)
    return made


def _mounts(usual: "list[Json]", container: "Container") -> "list[Json]":
    """Return the usual mounts and the client's, which replace those in their places; another /dev, all those in it.

    What is mounted in a directory follows what is mounted there, such as /etc/hosts a volume at /etc.
    """
    wanted = [mount.entry() for mount in of_container(container)]
    targets = {mount["destination"] for mount in wanted}
    kept = [one for one in usual if one["destination"] not in targets]
    kept = [one for one in kept if not ("/dev" in targets and one["destination"].startswith("/dev/"))]
    for mount in kept:
        if mount["source"] == "shm":
            mount["options"] = [*mount["options"][:-1], f"size={container.host_config['ShmSize']}"]
    return sorted([*kept, *wanted], key=lambda one: one["destination"].rstrip("/").count("/"))


def user_json(user: User) -> "Json":
    """Return process.user. Raises ApiError if our user namespace does not know the user."""
    made: Json = {"uid": user.uid, "gid": user.gid}
    if not has_one_id():
        return {**made, "additionalGids": sorted({user.gid, *user.groups})}
    if user.uid or user.gid:
        why = "in containers there is only root, because the engine's user has no subordinate ids"
        raise ApiError(400, f"user {user.uid}:{user.gid}: {why}")
    return made  # without additionalGids: whoever maps his own id alone cannot set groups (user_namespaces(7))


def _ports_for_all() -> "Json":
    """Let all programs have all ports, and those of all groups that there are send pings."""
    last = max(sum(map(int, line.split()[::2])) for line in whole_file.read("/proc/self/gid_map").splitlines()) - 1
    groups = f"0 {min(last, _LAST_GROUP)}"
    return {"net.ipv4.ip_unprivileged_port_start": "0", "net.ipv4.ping_group_range": groups}


def _spare_privileges(made: "Json") -> None:
    """Leave out of config.json what only the host's root may do, or only with more ids than the user has."""
    process = made["process"]
    process["oomScoreAdj"] = max(process["oomScoreAdj"], int(whole_file.read("/proc/self/oom_score_adj")))
    if has_one_id():
        for mount in made["mounts"]:
            mount["options"] = [option for option in mount["options"] if option != "gid=5"]


def _settings(container: "Container") -> Settings:
    settings = Settings()
    settings.hostname = container.config["Hostname"]
    settings.network = "host" if container.network == "host" else "none"  # pyfetch knows no others
    settings.tty = container.config["Tty"]
    return settings


def _as_image(config: "Json") -> ImageConfig:
    """Return the container's Config as an image's: both have the same fields. Labels would become annotations."""
    inner = {name: config[name] for name in ("User", "Env", "Entrypoint", "Cmd", "WorkingDir")}
    return ImageConfig(Document.root({"config": inner, "os": "linux"}, "Config"))


def _make_read_only(made: "Json") -> None:
    """Let the program change neither the root file system nor the files that are bound over it."""
    made["root"]["readonly"] = True
    for mount in made["mounts"]:
        if mount["destination"].startswith("/etc/"):
            mount["options"] = [*mount["options"], "ro"]


def _join_namespaces(made: "Json", host: "Json", joined: Joined) -> None:
    modes = (("pid", "PidMode"), ("uts", "UTSMode"), ("ipc", "IpcMode"))
    shared = {kind for kind, name in modes if host.get(name) == "host"}
    if cgroup_namespace(host) == "host":
        shared.add("cgroup")
    namespaces = made["linux"]["namespaces"]
    made["linux"]["namespaces"] = [one for one in namespaces if one["type"] not in shared]
    if "uts" in shared:
        del made["hostname"]
        made.pop("domainname", None)
    pids = {"pid": (joined.pid, "pid"), "ipc": (joined.ipc, "ipc"), "network": (joined.network, "net")}
    for one in made["linux"]["namespaces"]:
        pid, file = pids.get(one["type"], (0, ""))
        if pid:
            one["path"] = f"/proc/{pid}/ns/{file}"


def shared_memory_of(pid: int) -> str:
    """Return where the process has its shared memory, as config.json names the source of another container's."""
    return f"/proc/{pid}/root/dev/shm"


def _share_memory(made: "Json", host: "Json", joined: Joined, is_rootless: bool) -> None:
    """Let the container have the shared memory and message queues of the host, the shared memory of the container whose
    IPC namespace it joins, or none, if IpcMode says so."""
    for one in made["mounts"]:
        if joined.ipc and (one["destination"], one["source"]) == ("/dev/shm", "shm"):
            one.update(type="bind", source=shared_memory_of(joined.ipc), options=["rbind", *_OF_SHARED_MEMORY])
    mode = host.get("IpcMode")
    if mode == "none":
        made["mounts"] = [one for one in made["mounts"] if (one["destination"], one["source"]) != ("/dev/shm", "shm")]
    if mode != "host":
        return
    # Root mounts the queues of the host's IPC namespace anew: the host itself may not have them at /dev/mqueue.
    shared = {"shm": "/dev/shm", **({"mqueue": "/dev/mqueue"} if is_rootless else {})}
    for one in made["mounts"]:
        if shared.get(one["source"]) == one["destination"] and os.path.exists(one["destination"]):
            one.update(type="bind", source=one["destination"], options=["rbind", *_OF_SHARED_MEMORY])
