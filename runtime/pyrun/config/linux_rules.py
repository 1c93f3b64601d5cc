"""Rules of config-linux.md: for `linux`, and for resources of config.json or of `update --resources`.

The rules for resources refuse only values that no kernel accepts, and values that would become a part of a file name or
an additional line; the kernel judges the rest. The rules for sysctl are in sysctl.py.
"""

from foundation.linux.cpu_list import is_list
from foundation.node import shown
from pyrun.config.config_rules import mapping_errors
from pyrun.config.document import Config
from pyrun.config.linux import NAMESPACE_TYPES, UNSET_SWAPPINESS, Device, Resources
from pyrun.config.node import Node

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
    """config-linux.md#namespaces: an error for an unknown type, and for a type that occurs twice."""
    seen = set()
    for namespace in config.linux.namespaces:
        if namespace.type not in NAMESPACE_TYPES:
            known = ", ".join(NAMESPACE_TYPES)
            yield namespace.json.error("type", f"namespace {shown(namespace.type)} does not exist: not one of {known}")
        elif namespace.type in seen:
            yield namespace.json.error("type", f"malformed spec file: duplicated ns {shown(namespace.type)}")
        seen.add(namespace.type)


def namespace_paths_are_absolute(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#namespaces: "an absolute path in the runtime mount namespace"."""
    for namespace in config.linux.namespaces:
        if namespace.path and not namespace.path.startswith("/"):
            yield namespace.json.error("path", f"{shown(namespace.path)} is not an absolute path")


def mappings_are_sane(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#user-namespace-mappings, user_namespaces(7)."""
    yield from mapping_errors(config.linux.json, "uidMappings", config.linux.uid_mappings)
    yield from mapping_errors(config.linux.json, "gidMappings", config.linux.gid_mappings)


def time_offsets_have_a_new_namespace(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#offset-for-time-namespace, time_namespaces(7): only two clocks have offsets, and they can only be
    set before a process is in the namespace."""
    if config.linux.time_offsets is None:
        return
    error = config.linux.json.error
    if config.linux.time_offsets.offsets and not config.linux.makes("time"):
        reason = "time namespace offsets specified, but time namespace isn't enabled in the config"
        yield error("timeOffsets", reason)
    for clock, (_, nanoseconds) in config.linux.time_offsets.offsets.items():
        if clock not in ("monotonic", "boottime"):
            yield error("timeOffsets", f"{shown(clock)} is not a clock with an offset: monotonic, boottime")
        elif nanoseconds >= 1_000_000_000:
            yield error(f"timeOffsets.{clock}.nanosecs", f"{nanoseconds} is not below 1000000000")


def personality_is_known(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#personality."""
    personality = config.linux.personality
    if personality and personality.domain not in DOMAINS:
        yield personality.json.error(
            "domain", f"invalid personality domain {shown(personality.domain)}: LINUX or LINUX32"
        )


def memory_policy_is_known(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#memory-policy: errors for unknown names; the kernel judges combinations."""
    policy = config.linux.memory_policy
    if policy is None:
        return
    if policy.mode not in MEMORY_MODES:
        known = ", ".join(MEMORY_MODES)
        yield policy.json.error("mode", f"invalid memory policy mode {shown(policy.mode)}: not one of {known}")
    if policy.nodes and not is_list(policy.nodes):
        reason = "not a list of nodes such as '0-3,7'"
        yield policy.json.error("nodes", f"invalid memory policy nodes {shown(policy.nodes)}: {reason}")
    elif any(int(part.rpartition("-")[2]) >= _NODES for part in policy.nodes.split(",") if part):
        reason = f"reaches beyond the last node, {_NODES - 1}"
        yield policy.json.error("nodes", f"invalid memory policy nodes {shown(policy.nodes)}: {reason}")
    for i, flag in enumerate(policy.flags):
        if flag not in MEMORY_FLAGS:
            known = ", ".join(MEMORY_FLAGS)
            yield policy.json.error(f"flags[{i}]", f"invalid memory policy flag {shown(flag)}: not one of {known}")


def intel_rdt_is_one_directory(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#intel-rdt: closID names a directory in resctrl, or "/" for its root; schemas are lines."""
    rdt = config.linux.intel_rdt
    if rdt is None:
        return
    if rdt.clos_id != "/" and ("/" in rdt.clos_id or "\n" in rdt.clos_id or rdt.clos_id in (".", "..")):
        yield rdt.json.error("closID", f"invalid intelRdt.ClosID {shown(rdt.clos_id)}: a name, or '/'")
    if rdt.mem_bw_schema and (not rdt.mem_bw_schema.startswith("MB:") or "\n" in rdt.mem_bw_schema):
        yield rdt.json.error("memBwSchema", f"{shown(rdt.mem_bw_schema)} is not a line such as 'MB:0=50'")
    for i, line in enumerate(rdt.schemata):
        if ":" not in line or "\n" in line:
            yield rdt.json.error(f"schemata[{i}]", f"{shown(line)} is not a line such as 'L3:0=f'")


def net_devices_have_names_and_a_namespace(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#network-devices. The kernel replaces "%d" by a number; dev_valid_name() refuses other "%"."""
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
    """config-linux.md#devices: a path in the container, a type, and numbers unless it is a pipe."""
    for device in config.linux.devices:
        reason = _fault_of_path(device.path)
        if reason:
            yield device.json.error("path", f"{shown(device.path)} {reason}")
        if device.type not in ("c", "b", "u", "p"):
            yield device.json.error("type", f"invalid device type {shown(device.type)}: c, b, u or p")
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
    """config-linux.md#devices: an error if a path is already another file. The same device twice is allowed: engines
    write it if an option was given twice."""
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
            yield linux.json.error(name, "unable to restrict sys entries without a private MNT namespace")


def propagation_is_known(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#rootfs-mount-propagation, and the recursive names that runc also accepts."""
    propagation = config.linux.rootfs_propagation
    if propagation and propagation not in PROPAGATIONS:
        reason = f"rootfsPropagation={propagation} is not supported: not one of {', '.join(PROPAGATIONS)}"
        yield config.linux.json.error("rootfsPropagation", reason)


def cgroups_path_stays_below(config: Config) -> "Iterator[ConfigError]":
    """config-linux.md#cgroups-path. With '..' it could name another container's cgroup, or the host's."""
    if ".." in config.linux.cgroups_path.split("/"):
        yield config.linux.json.error("cgroupsPath", f"{shown(config.linux.cgroups_path)} leads through '..'")


def device_rules_are_known(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#allowed-device-list."""
    for rule in resources.devices:
        if rule.type not in ("a", "c", "b"):
            yield rule.json.error("type", f"invalid cgroup device type {shown(rule.type)}: a, c or b")
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
    if memory.swappiness is not None and 100 < memory.swappiness != UNSET_SWAPPINESS:
        reason = f"invalid memory swappiness value: {memory.swappiness} (valid range is 0-100)"
        yield memory.json.error("swappiness", reason)


def swap_contains_memory(resources: Resources) -> "Iterator[ConfigError]":
    """config-linux.md#memory: swap is "memory+Swap usage". As in runc, 0 means "not set"."""
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
    """config-linux.md#block-io: from 10 to 1000. 0 means "not set": Docker writes it so."""
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
    """config-linux.md#huge-page-limits: "<size><unit-prefix>B", which becomes a part of a file name."""
    for limit in resources.hugepage_limits:
        number, unit = limit.page_size[:-2], limit.page_size[-2:]
        if unit not in ("KB", "MB", "GB") or not (number.isascii() and number.isdigit()) or number[0] == "0":
            yield limit.json.error("pageSize", f"{shown(limit.page_size)} is not a size such as '2MB'")


def names_are_words(resources: Resources) -> "Iterator[ConfigError]":
    """net_prio of cgroup v1 and rdma take lines of words: a space or a newline in a name would start another."""
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
    """config-linux.md#unified: a key is the name of a file in the container's cgroup. Of the cgroup.* files only the
    limits are allowed: cgroup.procs would move processes, cgroup.subtree_control would remove controllers."""
    for key in resources.unified:
        if not _is_word(key) or "." not in key or _is_of_the_core(key):
            yield resources.json.error("unified", f"{shown(key)} is not the name of a controller's file")


def _is_of_the_core(key: str) -> bool:
    return key.startswith(("cgroup.", ".")) and not key.startswith("cgroup.max.")


LINUX_RULES = (
    namespaces_are_known_and_single,
    namespace_paths_are_absolute,
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
