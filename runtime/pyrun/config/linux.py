"""The `linux` object of config.json. Source: runtime-spec 1.3, config-linux.md.

Absent numbers are None, because for most resources 0 is a value.
"""

from foundation.linux import os
from foundation.node import INT64, UINT16, UINT32, UINT64
from pyrun.config.node import Node

NAMESPACE_TYPES = ("user", "ipc", "uts", "network", "cgroup", "time", "mount", "pid")
UNSET_SWAPPINESS = (1 << 64) - 1  # -1 in a Go uint64: callers send it to keep the system's value


class Linux:
    """`version` is ociVersion, on which the meaning of pids.limit depends."""

    def __init__(self, json: Node, version: str) -> None:
        self.json = json
        self.namespaces = [Namespace(namespace) for namespace in json.objects("namespaces")]
        self.uid_mappings = id_mappings(json, "uidMappings")
        self.gid_mappings = id_mappings(json, "gidMappings")
        self.time_offsets = TimeOffsets(json.object("timeOffsets")) if json.has("timeOffsets") else None
        self.devices = [Device(device) for device in json.objects("devices")]
        self.cgroups_path = json.string("cgroupsPath", default="")
        self.resources = Resources(json.object("resources", default={}), version)
        self.rootfs_propagation = json.string("rootfsPropagation", default="")
        self.masked_paths = json.strings("maskedPaths")
        self.readonly_paths = json.strings("readonlyPaths")
        self.mount_label = json.string("mountLabel", default="")
        self.sysctl = json.text_map("sysctl")
        self.seccomp = json.object_or_none("seccomp")
        self.intel_rdt = IntelRdt(json.object("intelRdt")) if json.has("intelRdt") else None
        self.memory_policy = MemoryPolicy(json.object("memoryPolicy")) if json.has("memoryPolicy") else None
        devices = json.object("netDevices", default={}).entries()
        # name on the host -> name in the container
        self.net_devices = {name: device.string("name", default="") or name for name, device in devices.items()}
        self.personality = Personality(json.object("personality")) if json.has("personality") else None

    def namespace(self, type_: str) -> "Namespace | None":
        """Return the namespace of that type, None if the container shares the runtime's."""
        for namespace in self.namespaces:
            if namespace.type == type_:
                return namespace
        return None

    def makes(self, type_: str) -> bool:
        """Return whether the container gets a new namespace of that type."""
        namespace = self.namespace(type_)
        return namespace is not None and not namespace.path

    def map_callers_ids(self, uid: int, gid: int) -> None:
        """Set crun's default for a user namespace without mappings: map `uid` and `gid` to the caller's ids."""
        self.uid_mappings = self.uid_mappings or [_one_id(uid, os.geteuid())]
        self.gid_mappings = self.gid_mappings or [_one_id(gid, os.getegid())]

    def host_uid(self, uid: int) -> int:
        """Return the id outside of the user namespace for the container's `uid`, -1 if it is not mapped."""
        return _outside(uid, self.uid_mappings) if self.namespace("user") else uid

    def host_gid(self, gid: int) -> int:
        """Return the id outside of the user namespace for the container's `gid`, -1 if it is not mapped."""
        return _outside(gid, self.gid_mappings) if self.namespace("user") else gid


def _outside(id_: int, mappings: "list[IDMapping]") -> int:
    for mapping in mappings:
        if 0 <= id_ - mapping.container_id < mapping.size:
            return mapping.host_id + id_ - mapping.container_id
    return -1


class Namespace:
    """`path` is "" for a new namespace."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.type = json.string("type")
        self.path = json.string("path", default="")


class IDMapping:
    def __init__(self, json: Node) -> None:
        self.container_id = json.integer("containerID", UINT32, default=0)
        self.host_id = json.integer("hostID", UINT32, default=0)
        self.size = json.integer("size", UINT32, default=0)


def _one_id(container_id: int, host_id: int) -> "IDMapping":
    return IDMapping(Node.root({"containerID": container_id, "hostID": host_id, "size": 1}, "config.json"))


def id_mappings(json: Node, name: str) -> "list[IDMapping]":
    return [IDMapping(mapping) for mapping in json.objects(name)]


class TimeOffsets:
    """`offsets` is (seconds, nanoseconds) by clock."""

    def __init__(self, json: Node) -> None:
        self.offsets = {}
        for clock, offset in json.entries().items():
            seconds = offset.integer("secs", INT64, default=0)
            self.offsets[clock] = (seconds, offset.integer("nanosecs", UINT32, default=0))


class Personality:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.domain = json.string("domain")
        self.flags = json.strings("flags")


class IntelRdt:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.clos_id = json.string("closID", default="")
        self.l3_cache_schema = json.string("l3CacheSchema", default="")
        self.mem_bw_schema = json.string("memBwSchema", default="")
        self.schemata = json.strings("schemata")
        self.enable_monitoring = json.boolean("enableMonitoring")


class MemoryPolicy:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.mode = json.string("mode", default="")
        self.nodes = json.string("nodes", default="")
        self.flags = json.strings("flags")


class Device:
    """A device node. `file_mode` has only permission bits; `major` and `minor` are -1 if absent."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.path = json.string("path")
        self.type = json.string("type")
        self.major = json.integer("major", INT64, default=-1)
        self.minor = json.integer("minor", INT64, default=-1)
        mode = json.integer_or_none("fileMode", UINT32)
        self.file_mode = 0o666 if mode is None else mode & 0o7777  # `type` gives the file type
        self.uid = json.integer("uid", UINT32, default=0)
        self.gid = json.integer("gid", UINT32, default=0)


class Resources:
    """The limits for the cgroup. A part is None if the config does not contain it; `version` is the ociVersion."""

    def __init__(self, json: Node, version: str) -> None:
        self.json = json
        self.devices = [DeviceRule(rule) for rule in json.objects("devices")]
        self.memory = Memory(json.object("memory")) if json.has("memory") else None
        self.cpu = CPU(json.object("cpu")) if json.has("cpu") else None
        self.pids_limit = _pids_limit(json.object("pids"), version) if json.has("pids") else None
        self.block_io = BlockIO(json.object("blockIO")) if json.has("blockIO") else None
        self.hugepage_limits = [HugepageLimit(limit) for limit in json.objects("hugepageLimits")]
        self.network = Network(json.object("network")) if json.has("network") else None
        rdma = json.object("rdma", default={}).entries()
        self.rdma = {device: RDMA(limits) for device, limits in rdma.items()}
        self.unified = json.text_map("unified")


def _pids_limit(json: Node, version: str) -> "int | None":
    """Return the limit. Since runtime-spec 1.3 the value 0 is a limit. Earlier, callers written in Go sent 0 for "not
    set" (podman before 5.4, cri-o, docker 18), and runc before 1.4 took it so, also in `update`."""
    limit = json.integer_or_none("limit", INT64)
    return None if limit == 0 and version.startswith(("1.0.", "1.1.", "1.2.")) else limit


class DeviceRule:
    """`type` is "a", "c" or "b"; `major` and `minor` are None for all numbers."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.allow = json.boolean("allow")
        self.type = json.string("type", default="") or "a"
        major = json.integer_or_none("major", INT64)
        minor = json.integer_or_none("minor", INT64)
        self.major = None if major == -1 else major
        self.minor = None if minor == -1 else minor
        self.access = json.string("access", default="")


class Memory:
    """Sizes are in bytes, -1 for no limit."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.limit = json.integer_or_none("limit", INT64)
        self.reservation = json.integer_or_none("reservation", INT64)
        self.swap = json.integer_or_none("swap", INT64)
        self.kernel = json.integer_or_none("kernel", INT64)
        self.kernel_tcp = json.integer_or_none("kernelTCP", INT64)
        self.swappiness = json.integer_or_none("swappiness", UINT64)
        self.disable_oom_killer = json.boolean_or_none("disableOOMKiller")
        self.use_hierarchy = json.boolean_or_none("useHierarchy")
        self.check_before_update = json.boolean_or_none("checkBeforeUpdate")


class CPU:
    """Times are in microseconds."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.shares = json.integer_or_none("shares", UINT64)
        self.quota = json.integer_or_none("quota", INT64)
        self.burst = json.integer_or_none("burst", UINT64)
        self.period = json.integer_or_none("period", UINT64)
        self.realtime_runtime = json.integer_or_none("realtimeRuntime", INT64)
        self.realtime_period = json.integer_or_none("realtimePeriod", UINT64)
        # Callers copy these from files in /sys, which end in a newline.
        self.cpus = json.string("cpus", default="").strip()
        self.mems = json.string("mems", default="").strip()
        self.idle = json.integer_or_none("idle", INT64)


class BlockIO:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.weight = json.integer_or_none("weight", UINT16)
        self.leaf_weight = json.integer_or_none("leafWeight", UINT16)
        self.weight_devices = [WeightDevice(device) for device in json.objects("weightDevice")]
        self.read_bps = _throttles(json, "throttleReadBpsDevice")
        self.write_bps = _throttles(json, "throttleWriteBpsDevice")
        self.read_iops = _throttles(json, "throttleReadIOPSDevice")
        self.write_iops = _throttles(json, "throttleWriteIOPSDevice")


class WeightDevice:
    def __init__(self, json: Node) -> None:
        self.json = json
        self.major = json.integer("major", INT64)
        self.minor = json.integer("minor", INT64)
        self.weight = json.integer_or_none("weight", UINT16)
        self.leaf_weight = json.integer_or_none("leafWeight", UINT16)


class ThrottleDevice:
    """`rate` is in bytes or operations a second."""

    def __init__(self, json: Node) -> None:
        self.major = json.integer("major", INT64)
        self.minor = json.integer("minor", INT64)
        self.rate = json.integer("rate", UINT64)


def _throttles(json: Node, name: str) -> "list[ThrottleDevice]":
    return [ThrottleDevice(device) for device in json.objects(name)]


class HugepageLimit:
    """`page_size` is text like "2MB"; `limit` is in bytes."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.page_size = json.string("pageSize")
        self.limit = json.integer("limit", UINT64)


class Network:
    """The settings of cgroup v1's net_cls and net_prio."""

    def __init__(self, json: Node) -> None:
        self.json = json
        self.class_id = json.integer_or_none("classID", UINT32)
        self.priorities = [(one.string("name"), one.integer("priority", UINT32)) for one in json.objects("priorities")]


class RDMA:
    def __init__(self, json: Node) -> None:
        self.hca_handles = json.integer_or_none("hcaHandles", UINT32)
        self.hca_objects = json.integer_or_none("hcaObjects", UINT32)
