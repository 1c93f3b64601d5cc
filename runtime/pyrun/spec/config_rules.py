"""Rules of config.md: of the whole, and of a process, be it config.json's or the one of `exec --process`.

Each yields an error for every place that breaks it. The rules of config-linux.md are in linux_rules.py.
"""

from pyrun.confine.rlimits import RLIMITS
from pyrun.spec.config import HOOK_KINDS, KEEP_GROUPS, SCHED_CORE, Config, Process
from pyrun.spec.linux import IDMapping
from pyrun.spec.node import Node, shown

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.errors import ConfigError

_UTS_NAME = 64  # bytes, since Linux 1.0: __NEW_UTS_LEN of <linux/utsname.h>
_LABEL = 4000  # bytes: a page, less "exec "
_MAPPINGS = 340  # lines of uid_map since Linux 4.15: user_namespaces(7)
_LETTERS = frozenset("0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz-")
POLICIES = ("SCHED_OTHER", "SCHED_FIFO", "SCHED_RR", "SCHED_BATCH", "SCHED_ISO", "SCHED_IDLE", "SCHED_DEADLINE")
SCHEDULER_FLAGS = (
    "SCHED_FLAG_RESET_ON_FORK",
    "SCHED_FLAG_RECLAIM",
    "SCHED_FLAG_DL_OVERRUN",
    "SCHED_FLAG_KEEP_POLICY",
    "SCHED_FLAG_KEEP_PARAMS",
    "SCHED_FLAG_UTIL_CLAMP_MIN",
    "SCHED_FLAG_UTIL_CLAMP_MAX",
)
IO_CLASSES = ("IOPRIO_CLASS_RT", "IOPRIO_CLASS_BE", "IOPRIO_CLASS_IDLE")


def version_is_1(config: Config) -> "Iterator[ConfigError]":
    """config.md#specification-version: semantic versioning, and an error for what we do not know."""
    version = config.oci_version
    if not _is_semantic(version):
        yield config.json.error("ociVersion", f"{shown(version)} is not a semantic version such as '1.3.0'")
    elif not version.startswith("1."):
        yield config.json.error("ociVersion", f"{shown(version)} is not supported, only 1.x is")


def _is_semantic(version: str) -> bool:
    version, plus, build = version.partition("+")
    core, minus, prerelease = version.partition("-")
    numbers = core.split(".")
    return (
        len(numbers) == 3
        and all(_is_number(number) for number in numbers)
        and (not minus or _are_identifiers(prerelease))
        and (not plus or _are_identifiers(build))
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and (text == "0" or text[0] != "0")


def _are_identifiers(text: str) -> bool:
    return all(part and _LETTERS.issuperset(part) for part in text.split("."))


def process_is_there(config: Config) -> "Iterator[ConfigError]":
    """config.md#process: "REQUIRED when start is called"; like runc we ask for it at create, which prepares it."""
    if config.process is None:
        yield config.json.missing("process")


def root_path_is_not_empty(config: Config) -> "Iterator[ConfigError]":
    """config.md#root. An empty path would make the bundle, config.json and all, the root of the container."""
    if not config.root.path:
        yield config.root.json.error("path", "must not be empty")


def hostname_has_a_uts_namespace(config: Config) -> "Iterator[ConfigError]":
    """config.md#hostname, #domainname: else the host would be renamed."""
    for name, value in (("hostname", config.hostname), ("domainname", config.domainname)):
        if not value:
            continue
        if config.linux.namespace("uts") is None:
            yield config.json.error(name, "needs a uts namespace in linux.namespaces")
        if len(value.encode()) > _UTS_NAME:
            yield config.json.error(name, f"is longer than {_UTS_NAME} bytes")


def mount_destinations_are_not_empty(config: Config) -> "Iterator[ConfigError]":
    """config.md#mounts. Relative ones are deprecated but valid: see warnings()."""
    for mount in config.mounts:
        if not mount.destination:
            yield mount.json.error("destination", "must not be empty")


def mount_mappings_come_in_pairs(config: Config) -> "Iterator[ConfigError]":
    """config.md#posix-platform-mounts: uidMappings and gidMappings "MUST be specified" together."""
    for mount in config.mounts:
        if mount.uid_mappings and not mount.gid_mappings:
            yield mount.json.error("uidMappings", "needs gidMappings beside it")
        if mount.gid_mappings and not mount.uid_mappings:
            yield mount.json.error("gidMappings", "needs uidMappings beside it")


def mount_mappings_are_sane(config: Config) -> "Iterator[ConfigError]":
    for mount in config.mounts:
        yield from mapping_errors(mount.json, "uidMappings", mount.uid_mappings)
        yield from mapping_errors(mount.json, "gidMappings", mount.gid_mappings)


def mapped_mounts_are_binds(config: Config) -> "Iterator[ConfigError]":
    """config.md#linux-mount-options, idmap: without mappings of its own a mount takes the container's."""
    for mount in config.mounts:
        if not (mount.uid_mappings or mount.gid_mappings or {"idmap", "ridmap"} & set(mount.options)):
            continue
        if mount.type != "bind" and not {"bind", "rbind"} & set(mount.options):
            yield mount.json.error("options", "only a bind mount can have its ids mapped")
        if not mount.uid_mappings and config.linux.namespace("user") is None:
            yield mount.json.error("uidMappings", "is required: there is no user namespace to take the mappings of")


def mapping_errors(json: Node, name: str, mappings: "list[IDMapping]") -> "Iterator[ConfigError]":
    """Yield what the kernel would refuse of `mappings` with a bare EINVAL: user_namespaces(7)."""
    if len(mappings) > _MAPPINGS:
        yield json.error(name, f"has {len(mappings)} entries, the kernel takes {_MAPPINGS}")
        return
    for i, mapping in enumerate(mappings):
        if mapping.size == 0:
            yield json.error(f"{name}[{i}].size", "must be greater than 0")
        elif max(mapping.container_id, mapping.host_id) + mapping.size >= 1 << 32:
            yield json.error(f"{name}[{i}]", f"reaches beyond the last id, {(1 << 32) - 2}")
        for j, other in enumerate(mappings[:i]):
            if _overlap(mapping.container_id, mapping.size, other.container_id, other.size):
                yield json.error(f"{name}[{i}].containerID", f"overlaps {name}[{j}]")
            if _overlap(mapping.host_id, mapping.size, other.host_id, other.size):
                yield json.error(f"{name}[{i}].hostID", f"overlaps {name}[{j}]")


def _overlap(first: int, size: int, other_first: int, other_size: int) -> bool:
    return first < other_first + other_size and other_first < first + size


def hooks_are_whole(config: Config) -> "Iterator[ConfigError]":
    """config.md#posix-platform-hooks: an absolute path, a timeout "greater than zero", an environ(7)."""
    for kind in HOOK_KINDS:
        for hook in config.hooks[kind]:
            if not hook.path.startswith("/"):
                yield hook.json.error("path", f"{shown(hook.path)} is not an absolute path")
            if hook.timeout is not None and hook.timeout <= 0:
                yield hook.json.error("timeout", f"{hook.timeout} is not greater than 0")
            yield from environment_errors(hook.json, hook.env or [])


def environment_errors(json: Node, env: "list[str]") -> "Iterator[ConfigError]":
    """config.md#process: env has "the same semantics as IEEE Std 1003.1-2008's environ"; runc refuses what has none."""
    for i, entry in enumerate(env):
        if "=" not in entry:
            yield json.error(f"env[{i}]", f"{shown(entry)} has no '='")
        elif entry.startswith("="):
            yield json.error(f"env[{i}]", f"{shown(entry)} has no name")


def annotations_have_names(config: Config) -> "Iterator[ConfigError]":
    """config.md#annotations: "Keys MUST NOT be an empty string"."""
    if "" in config.annotations:
        yield config.json.error("annotations", "has an empty key")


def args_name_a_program(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#process: args has "at least one entry", which is the file to execute."""
    if not process.args:
        yield process.json.error("args", "must not be empty")
    elif not process.args[0]:
        yield process.json.error("args[0]", "must not be empty")


def cwd_is_absolute(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#process: "This value MUST be an absolute path"."""
    if not process.cwd.startswith("/"):
        yield process.json.error("cwd", f"{shown(process.cwd)} is not an absolute path")


def env_is_an_environ(process: Process, config: Config) -> "Iterator[ConfigError]":
    yield from environment_errors(process.json, process.env)


def user_is_mapped(process: Process, config: Config) -> "Iterator[ConfigError]":
    """user_namespaces(7): setresuid(2) and setgroups(2) know no id without a mapping. Of a joined namespace the
    kernel knows the mappings, and config.json may not."""
    if not config.linux.makes("user"):
        return
    user = process.user
    if not _is_mapped(user.uid, config.linux.uid_mappings):
        yield process.json.error("user.uid", f"{user.uid} has no mapping in linux.uidMappings")
    if not _is_mapped(user.gid, config.linux.gid_mappings):
        yield process.json.error("user.gid", f"{user.gid} has no mapping in linux.gidMappings")
    for i, gid in enumerate(user.additional_gids):
        if not _is_mapped(gid, config.linux.gid_mappings):
            yield process.json.error(f"user.additionalGids[{i}]", f"{gid} has no mapping in linux.gidMappings")


def _is_mapped(id_: int, mappings: "list[IDMapping]") -> bool:
    return not mappings or any(
        mapping.container_id <= id_ < mapping.container_id + mapping.size for mapping in mappings
    )


def rlimits_are_known_and_single(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#posix-process: an error for an unknown type, and for a type that is there twice."""
    seen = set()
    for rlimit in process.rlimits:
        if rlimit.type not in RLIMITS:
            yield rlimit.json.error("type", f"{shown(rlimit.type)} is not a resource limit of Linux")
        elif rlimit.type in seen:
            yield rlimit.json.error("type", f"{rlimit.type} is there twice")
        seen.add(rlimit.type)


def rlimits_are_in_order(process: Process, config: Config) -> "Iterator[ConfigError]":
    """getrlimit(2): EINVAL where the soft limit is above the hard one."""
    for rlimit in process.rlimits:
        if rlimit.soft > rlimit.hard:
            yield rlimit.json.error("soft", f"{rlimit.soft} is greater than hard, {rlimit.hard}")


def scheduler_is_consistent(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#scheduler, sched(7): which number means something depends on the policy."""
    scheduler = process.scheduler
    if scheduler is None:
        return
    error = scheduler.json.error
    policy = scheduler.policy
    if policy not in POLICIES:
        yield error("policy", f"{shown(policy)} is not one of {', '.join(POLICIES)}")
        return
    for i, flag in enumerate(scheduler.flags):
        if flag not in SCHEDULER_FLAGS:
            yield error(f"flags[{i}]", f"{shown(flag)} is not one of {', '.join(SCHEDULER_FLAGS)}")
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.nice <= 19:
        yield error("nice", f"{scheduler.nice} is not between -20 and 19")
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= scheduler.priority <= 99:
            yield error("priority", f"{scheduler.priority} is not between 1 and 99")
    elif scheduler.priority:
        yield error("priority", f"is for SCHED_FIFO and SCHED_RR, not for {policy}")
    if policy == "SCHED_DEADLINE":
        period = scheduler.period or scheduler.deadline
        if not 0 < scheduler.runtime <= scheduler.deadline <= period:
            yield error("runtime", "must be greater than 0 and not above deadline, nor that above period")
    elif scheduler.runtime or scheduler.deadline or scheduler.period:
        yield error("policy", f"{policy} has no runtime, deadline or period, only SCHED_DEADLINE has")


def io_priority_is_known(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#io-priority, ioprio_set(2)."""
    io_priority = process.io_priority
    if io_priority is None:
        return
    if io_priority.class_ not in IO_CLASSES:
        yield io_priority.json.error("class", f"{shown(io_priority.class_)} is not one of {', '.join(IO_CLASSES)}")
    if not 0 <= io_priority.priority <= 7:
        yield io_priority.json.error("priority", f"{io_priority.priority} is not between 0 and 7")


def cpu_affinity_is_a_list(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#process, execCPUAffinity: lists as cpuset(7) has them, "0-3,7"."""
    affinity = process.exec_cpu_affinity
    if affinity is None:
        return
    for name, cpus in (("initial", affinity.initial), ("final", affinity.final)):
        if cpus and not is_list(cpus):
            yield affinity.json.error(name, f"{shown(cpus)} is not a list of CPUs such as '0-3,7'")


def is_list(text: str) -> bool:
    """Tell whether `text` is a list of numbers as cpuset(7) has them."""
    return all(_is_range(part) for part in text.split(","))


def _is_range(text: str) -> bool:
    first, dash, last = text.strip(" ").partition("-")
    if not (first.isascii() and first.isdigit() and len(first) < 10):
        return False
    return not dash or (last.isascii() and last.isdigit() and len(last) < 10 and int(first) <= int(last))


def labels_fit_into_a_page(process: Process, config: Config) -> "Iterator[ConfigError]":
    """proc(5), /proc/PID/attr: the kernel takes a page of what is written, and would cut off the rest."""
    for name, label in (("apparmorProfile", process.apparmor_profile), ("selinuxLabel", process.selinux_label)):
        if len(label.encode()) > _LABEL:
            yield process.json.error(name, f"is longer than {_LABEL} bytes")


def switches_are_on(config: Config) -> "Iterator[ConfigError]":
    """Annotations that are on where they are "1", as crun's are, and off where they are missing."""
    for name in (KEEP_GROUPS, SCHED_CORE):
        if config.annotations.get(name, "1") != "1":
            yield config.json.error(f"annotations[{shown(name)}]", f'{shown(config.annotations[name])} is not "1"')


CONFIG_RULES = (
    version_is_1,
    process_is_there,
    root_path_is_not_empty,
    hostname_has_a_uts_namespace,
    mount_destinations_are_not_empty,
    mount_mappings_come_in_pairs,
    mount_mappings_are_sane,
    mapped_mounts_are_binds,
    hooks_are_whole,
    annotations_have_names,
    switches_are_on,
)
PROCESS_RULES = (
    args_name_a_program,
    cwd_is_absolute,
    env_is_an_environ,
    user_is_mapped,
    rlimits_are_known_and_single,
    rlimits_are_in_order,
    scheduler_is_consistent,
    io_priority_is_known,
    cpu_affinity_is_a_list,
    labels_fit_into_a_page,
)
