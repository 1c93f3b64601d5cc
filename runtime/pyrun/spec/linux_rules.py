"""Rules of config-linux.md: of the whole, and of resources, be they config.json's or those of `update --resources`.

Of resources only what no kernel would take, and what would become a part of a file's name or a line of its own; the
rest is for the kernel to judge. The rules of sysctl are in sysctl.py.
"""

from pyrun.spec.config import Config
from pyrun.spec.config_rules import mapping_errors
from pyrun.spec.linux import NAMESPACE_TYPES, Device, Resources
from pyrun.spec.node import Node, shown
from pyrun.spec.process_rules import is_list

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.errors import ConfigError

PROPAGATIONS = ("private", "rprivate", "slave", "rslave", "shared", "rshared", "unbindable", "runbindable")
DOMAINS = ("LINUX", "LINUX32")
MEMORY_MODES = (
    "MPOL_DEFAULT",
    "MPOL_PREFERRED",
    "MPOL_BIND",
    "MPOL_INTERLEAVE",
    "MPOL_LOCAL",
    "MPOL_PREFERRED_MANY",
    "MPOL_WEIGHTED_INTERLEAVE",
)
MEMORY_FLAGS = ("MPOL_F_STATIC_NODES", "MPOL_F_RELATIVE_NODES", "MPOL_F_NUMA_BALANCING")
_NODES = 1024  # the largest CONFIG_NODES_SHIFT is 10
# mknod(2) silently drops what does not fit into 32 bits: device 4097:3 would be 1:3.
_MAJORS, _MINORS = 1 << 12, 1 << 20
_INTERFACE_NAME = 15  # bytes: IFNAMSIZ of <linux/if.h>, less the NUL


def namespaces_are_known_and_single(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#namespaces: an error for an unknown type, and for a type that is there twice."""
    seen = set()
    for namespace in config.linux.namespaces:
        if namespace.type not in NAMESPACE_TYPES:
            yield namespace.json.error("type", f"{shown(namespace.type)} is not one of {', '.join(NAMESPACE_TYPES)}")
        elif namespace.type in seen:
            yield namespace.json.error("type", f"{namespace.type} is there twice")
        seen.add(namespace.type)


def namespace_paths_are_absolute(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#namespaces: "an absolute path in the runtime mount namespace"."""
    for namespace in config.linux.namespaces:
        if namespace.path and not namespace.path.startswith("/"):
            yield namespace.json.error("path", f"{shown(namespace.path)} is not an absolute path")


def user_namespace_has_mappings(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#user-namespace-mappings. A new namespace without them would have no user that exists.
    A joined one may come with them: containerd and CRI-O send both."""
    linux = config.linux
    for name, mappings in (("uidMappings", linux.uid_mappings), ("gidMappings", linux.gid_mappings)):
        if mappings and linux.namespace("user") is None:
            yield linux.json.error(name, "needs a user namespace in linux.namespaces")
        if linux.makes("user") and not mappings:
            yield linux.json.missing(name)


def mappings_are_sane(config: Config) -> "Iterator[ConfigError]":
    yield from mapping_errors(config.linux.json, "uidMappings", config.linux.uid_mappings)
    yield from mapping_errors(config.linux.json, "gidMappings", config.linux.gid_mappings)


def time_offsets_have_a_new_namespace(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#offset-for-time-namespace, time_namespaces(7): for two clocks, and while it is empty."""
    if config.linux.time_offsets is None:
        return
    error = config.linux.json.error
    if config.linux.time_offsets.offsets and not config.linux.makes("time"):
        yield error("timeOffsets", "needs a new time namespace in linux.namespaces")
    for clock, (_, nanoseconds) in config.linux.time_offsets.offsets.items():
        if clock not in ("monotonic", "boottime"):
            yield error("timeOffsets", f"{shown(clock)} is not a clock with an offset: monotonic, boottime")
        elif nanoseconds >= 1_000_000_000:
            yield error(f"timeOffsets.{clock}.nanosecs", f"{nanoseconds} is not below 1000000000")


def personality_is_known(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#personality."""
    personality = config.linux.personality
    if personality and personality.domain not in DOMAINS:
        yield personality.json.error("domain", f"{shown(personality.domain)} is not one of {', '.join(DOMAINS)}")


def memory_policy_is_known(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#memory-policy: errors for unknown names; what goes together, the kernel knows."""
    policy = config.linux.memory_policy
    if policy is None:
        return
    if policy.mode not in MEMORY_MODES:
        yield policy.json.error("mode", f"{shown(policy.mode)} is not one of {', '.join(MEMORY_MODES)}")
    if policy.nodes and not is_list(policy.nodes):
        yield policy.json.error("nodes", f"{shown(policy.nodes)} is not a list of nodes such as '0-3,7'")
    elif any(int(part.rpartition("-")[2]) >= _NODES for part in policy.nodes.split(",") if part):
        yield policy.json.error("nodes", f"{shown(policy.nodes)} reaches beyond the last node, {_NODES - 1}")
    for i, flag in enumerate(policy.flags):
        if flag not in MEMORY_FLAGS:
            yield policy.json.error(f"flags[{i}]", f"{shown(flag)} is not one of {', '.join(MEMORY_FLAGS)}")


def intel_rdt_is_one_directory(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#intel-rdt: closID is a directory's name in resctrl, or "/", its root; schemas are lines."""
    rdt = config.linux.intel_rdt
    if rdt is None:
        return
    if rdt.clos_id != "/" and ("/" in rdt.clos_id or "\n" in rdt.clos_id or rdt.clos_id in (".", "..")):
        yield rdt.json.error("closID", f"{shown(rdt.clos_id)} is not the name of a directory, nor '/'")
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        yield rdt.json.error("memBwSchema", f"{shown(rdt.mem_bw_schema)} is not a line such as 'MB:0=50'")
    for i, line in enumerate(rdt.schemata):
        if ":" not in line or "\n" in line:
            yield rdt.json.error(f"schemata[{i}]", f"{shown(line)} is not a line such as 'L3:0=f'")


def net_devices_have_names_and_a_namespace(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#network-devices. "%d" lets the kernel number a name, dev_valid_name() refuses the rest."""
    linux = config.linux
    if linux.net_devices and linux.namespace("network") is None:
        yield linux.json.error("netDevices", "needs a network namespace in linux.namespaces")
    for name, new_name in linux.net_devices.items():
        for one in dict.fromkeys((name, new_name)):
            if not _is_interface(one) or (one.replace("%d", "", 1) if one is new_name else one).count("%"):
                yield linux.json.error("netDevices", f"{shown(one)} is not the name of a network interface")
        if "%" not in new_name and list(linux.net_devices.values()).count(new_name) > 1:
            yield linux.json.error("netDevices", f"two devices are to become {shown(new_name)}")


def devices_are_whole(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#devices: a path in the container, a type, and numbers for all but a pipe."""
    for device in config.linux.devices:
        reason = _fault_of_path(device.path)
        if reason:
            yield device.json.error("path", f"{shown(device.path)} {reason}")
        if device.type not in ("c", "b", "u", "p"):
            yield device.json.error("type", f"{shown(device.type)} is not one of c, b, u, p")
        elif device.type != "p":
            yield from _number_errors(device)


def _fault_of_path(path: str) -> str:
    parts = path.split("/")
    if not path.startswith("/"):
        return "is not an absolute path"
    if ".." in parts:
        return "leads through '..'"
    return "is a directory" if parts[-1] in ("", ".") else ""


def _number_errors(device: Device) -> "Iterator[ConfigError]":
    for name, number, end in (("major", device.major, _MAJORS), ("minor", device.minor, _MINORS)):
        if not device.json.has(name):
            yield device.json.missing(name)
        elif not 0 <= number < end:
            yield device.json.error(name, f"{number} is not between 0 and {end - 1}")


def devices_do_not_contradict(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#devices: an error where a path is already another file. The same device twice is harmless, and
    is what engines write for an option that was given twice."""
    seen: dict[str, tuple[str, int, int]] = {}
    for device in config.linux.devices:
        identity = (device.type.replace("u", "c"), device.major, device.minor)  # mknod(1): u is c
        if seen.setdefault(device.path, identity) != identity:
            yield device.json.error("path", f"{shown(device.path)} is already another device")


def paths_to_hide_are_absolute(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#masked-paths, #readonly-paths: "The values MUST be absolute paths in the container namespace"."""
    linux = config.linux
    for name, paths in (("maskedPaths", linux.masked_paths), ("readonlyPaths", linux.readonly_paths)):
        for i, path in enumerate(paths):
            if not path.startswith("/"):
                yield linux.json.error(f"{name}[{i}]", f"{shown(path)} is not an absolute path")
        if paths and linux.namespace("mount") is None:
            yield linux.json.error(name, "needs a mount namespace in linux.namespaces, else the host's would be hidden")


def propagation_is_known(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#rootfs-mount-propagation, with the recursive names that runc takes too."""
    propagation = config.linux.rootfs_propagation
    if propagation and propagation not in PROPAGATIONS:
        yield config.linux.json.error(
            "rootfsPropagation", f"{shown(propagation)} is not one of {', '.join(PROPAGATIONS)}"
        )


def cgroups_path_stays_below(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#cgroups-path. With '..' it would be another container's cgroup, or the host's."""
    if ".." in config.linux.cgroups_path.split("/"):
        yield config.linux.json.error("cgroupsPath", f"{shown(config.linux.cgroups_path)} leads through '..'")


def device_rules_are_known(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#allowed-device-list."""
    for rule in resources.devices:
        if rule.type not in ("a", "c", "b"):
            yield rule.json.error("type", f"{shown(rule.type)} is not one of a, c, b")
        if not set(rule.access) <= set("rwm"):
            yield rule.json.error("access", f"{shown(rule.access)} has other letters than r, w, m")
        for name, number in (("major", rule.major), ("minor", rule.minor)):
            if number is not None and not 0 <= number < 1 << 32:
                yield rule.json.error(name, f"{number} is not between 0 and {(1 << 32) - 1}, nor -1 for all")


def memory_sizes_are_sizes(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#memory: bytes, or -1 for no limit."""
    memory = resources.memory
    if memory is None:
        return
    for name, size in (
        ("limit", memory.limit),
        ("reservation", memory.reservation),
        ("swap", memory.swap),
        ("kernel", memory.kernel),
        ("kernelTCP", memory.kernel_tcp),
    ):
        if size is not None and size < -1:
            yield memory.json.error(name, f"{size} is neither a size nor -1")
    if memory.swappiness is not None and memory.swappiness > 100:
        yield memory.json.error("swappiness", f"{memory.swappiness} is not between 0 and 100")


def swap_contains_memory(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#memory: swap is "memory+Swap usage". 0 is absence, as in runc."""
    memory = resources.memory
    if memory and memory.limit and memory.swap and 0 < memory.swap < memory.limit:
        yield memory.json.error("swap", f"{memory.swap} counts memory too and is less than limit, {memory.limit}")


def cpu_numbers_are_known(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#cpu: idle is 1 or 0; lists of CPUs and nodes are on one line."""
    cpu = resources.cpu
    if cpu is None:
        return
    if cpu.idle not in (None, 0, 1):
        yield cpu.json.error("idle", f"{cpu.idle} is neither 0 nor 1")
    for name, value in (("cpus", cpu.cpus), ("mems", cpu.mems)):
        if "\n" in value:
            yield cpu.json.error(name, "has more than one line")


def weights_are_in_range(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#block-io: from 10 to 1000. 0 is absence: Docker writes it where none was asked for."""
    block_io = resources.block_io
    if block_io is None:
        return
    yield from _weight_errors(block_io.json, block_io.weight, block_io.leaf_weight)
    for device in block_io.weight_devices:
        yield from _weight_errors(device.json, device.weight, device.leaf_weight)
        if device.weight is None and device.leaf_weight is None:
            yield device.json.error("", "needs weight or leafWeight")


def _weight_errors(json: Node, weight: "int | None", leaf_weight: "int | None") -> "Iterator[ConfigError]":
    for name, value in (("weight", weight), ("leafWeight", leaf_weight)):
        if value and not 10 <= value <= 1000:
            yield json.error(name, f"{value} is not between 10 and 1000")


def page_sizes_are_sizes(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#huge-page-limits: "<size><unit-prefix>B", which becomes a part of a file's name."""
    for limit in resources.hugepage_limits:
        number, unit = limit.page_size[:-2], limit.page_size[-2:]
        if unit not in ("KB", "MB", "GB") or not (number.isascii() and number.isdigit()) or number[0] == "0":
            yield limit.json.error("pageSize", f"{shown(limit.page_size)} is not a size such as '2MB'")


def names_are_words(resources: Resources) -> "Iterator[ConfigError]":
    """cgroup v1's net_prio and the rdma controller take lines of words: a space or a newline would begin another."""
    if resources.network:
        for i, (name, _) in enumerate(resources.network.priorities):
            if not _is_interface(name):
                reason = f"{shown(name)} is not the name of a network interface"
                yield resources.network.json.error(f"priorities[{i}].name", reason)
    for device in resources.rdma:
        if not _is_word(device):
            yield resources.json.error("rdma", f"{shown(device)} is not the name of a device")


def _is_interface(name: str) -> bool:
    return _is_word(name) and name not in (".", "..") and ":" not in name and len(name.encode()) <= _INTERFACE_NAME


def _is_word(name: str) -> bool:
    return "/" not in name and name.split() == [name]


def unified_keys_are_files(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#unified: a key is a file's name in the container's own cgroup. Of the core's files only the
    limits are resources: cgroup.procs would move processes, cgroup.subtree_control take controllers away."""
    for key in resources.unified:
        if not _is_word(key) or "." not in key or _is_of_the_core(key):
            yield resources.json.error("unified", f"{shown(key)} is not the name of a controller's file")


def _is_of_the_core(key: str) -> bool:
    return key.startswith(("cgroup.", ".")) and not key.startswith("cgroup.max.")


LINUX_RULES = (
    namespaces_are_known_and_single,
    namespace_paths_are_absolute,
    user_namespace_has_mappings,
    mappings_are_sane,
    time_offsets_have_a_new_namespace,
    personality_is_known,
    memory_policy_is_known,
    intel_rdt_is_one_directory,
    net_devices_have_names_and_a_namespace,
    devices_are_whole,
    devices_do_not_contradict,
    paths_to_hide_are_absolute,
    propagation_is_known,
    cgroups_path_stays_below,
)
RESOURCE_RULES = (
    device_rules_are_known,
    memory_sizes_are_sizes,
    swap_contains_memory,
    cpu_numbers_are_known,
    weights_are_in_range,
    page_sizes_are_sizes,
    names_are_words,
    unified_keys_are_files,
)
