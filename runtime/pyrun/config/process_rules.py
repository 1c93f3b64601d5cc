"""Rules of config.md for a process: that of config.json, or one of `exec`.

As in config_rules.py, each rule yields an error for every place that breaks it.
"""

from foundation.linux.cpu_list import is_list
from foundation.linux.resource import RLIMITS
from foundation.node import shown
from pyrun.config.document import Config, Process
from pyrun.config.linux import IDMapping
from pyrun.config.node import Node

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrun.errors import ConfigError

_LABEL = 4000  # bytes: a page minus "exec "
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


def validate_process(process: Process, config: Config) -> None:
    """Raise the ConfigError for the first rule that `process` breaks; `config` is that of its container."""
    for error in process_errors(process, config):
        raise error


def process_errors(process: Process, config: Config) -> "Iterator[ConfigError]":
    """Yield the errors of all rules."""
    for rule in PROCESS_RULES:
        yield from rule(process, config)


def args_name_a_program(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#process: args has "at least one entry", which is the file to execute."""
    if not process.args:
        yield process.json.error("args", "must not be empty")
    elif not process.args[0]:
        yield process.json.error("args[0]", "must not be empty")


def cwd_is_absolute(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#process: "This value MUST be an absolute path"."""
    if not process.cwd.startswith("/"):
        yield process.json.error("cwd", f"Cwd must be an absolute path, not {shown(process.cwd)}")


def environment_errors(json: Node, env: "list[str]") -> "Iterator[ConfigError]":
    """config.md#process: env has "the same semantics as IEEE Std 1003.1-2008's environ"; runc also refuses these."""
    for i, entry in enumerate(env):
        if "=" not in entry:
            yield json.error(f"env[{i}]", f"{shown(entry)} has no '='")
        elif entry.startswith("="):
            yield json.error(f"env[{i}]", f"{shown(entry)} has no name")


def env_is_an_environ(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#process, env: see environment_errors()."""
    yield from environment_errors(process.json, process.env)


def user_is_mapped(process: Process, config: Config) -> "Iterator[ConfigError]":
    """user_namespaces(7): setresuid(2) and setgroups(2) refuse an id without a mapping. This does not check a joined
    namespace, because config.json need not contain its mappings."""
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
    """config.md#posix-process: an error for an unknown type, and for a type that occurs twice."""
    seen = set()
    for rlimit in process.rlimits:
        if rlimit.type not in RLIMITS:
            yield rlimit.json.error("type", f"invalid rlimit type {shown(rlimit.type)}")
        elif rlimit.type in seen:
            yield rlimit.json.error("type", f"{rlimit.type} is there twice")
        seen.add(rlimit.type)


def rlimits_are_in_order(process: Process, config: Config) -> "Iterator[ConfigError]":
    """getrlimit(2): EINVAL if the soft limit is above the hard limit."""
    for rlimit in process.rlimits:
        if rlimit.soft > rlimit.hard:
            yield rlimit.json.error("soft", f"{rlimit.soft} is greater than hard, {rlimit.hard}")


def scheduler_is_consistent(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#scheduler, sched(7): the policy decides which numbers are allowed."""
    scheduler = process.scheduler
    if scheduler is None:
        return
    error = scheduler.json.error
    policy = scheduler.policy
    if policy not in POLICIES:
        yield error("policy", f"invalid scheduler policy {shown(policy)}: not one of {', '.join(POLICIES)}")
        return
    for i, flag in enumerate(scheduler.flags):
        if flag not in SCHEDULER_FLAGS:
            yield error(f"flags[{i}]", f"invalid scheduler flag {shown(flag)}: not one of {', '.join(SCHEDULER_FLAGS)}")
    if policy in ("SCHED_OTHER", "SCHED_BATCH") and not -20 <= scheduler.nice <= 19:
        yield error("nice", f"invalid scheduler.nice: {scheduler.nice} is not between -20 and 19")
    if policy in ("SCHED_FIFO", "SCHED_RR"):
        if not 1 <= scheduler.priority <= 99:
            yield error("priority", f"{scheduler.priority} is not between 1 and 99")
    elif scheduler.priority:
        yield error("priority", "scheduler.priority can only be specified for SchedFIFO or SchedRR policy")
    if policy == "SCHED_DEADLINE":
        period = scheduler.period or scheduler.deadline
        if not 0 < scheduler.runtime <= scheduler.deadline <= period:
            yield error("runtime", "must be greater than 0 and not above deadline, nor that above period")
    elif scheduler.runtime or scheduler.deadline or scheduler.period:
        yield error("policy", "scheduler runtime/deadline/period can only be specified for SchedDeadline policy")


def io_priority_is_known(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#io-priority, ioprio_set(2)."""
    io_priority = process.io_priority
    if io_priority is None:
        return
    error, known = io_priority.json.error, ", ".join(IO_CLASSES)
    if io_priority.class_ not in IO_CLASSES:
        yield error("class", f"invalid io priority class: {shown(io_priority.class_)} is not one of {known}")
    if not 0 <= io_priority.priority <= 7:
        yield error("priority", f"invalid ioPriority.Priority: {io_priority.priority} is not between 0 and 7")


def cpu_affinity_is_a_list(process: Process, config: Config) -> "Iterator[ConfigError]":
    """config.md#process, execCPUAffinity: lists in the format of cpuset(7), "0-3,7"."""
    affinity = process.exec_cpu_affinity
    if affinity is None:
        return
    for name, cpus in (("initial", affinity.initial), ("final", affinity.final)):
        if cpus and not is_list(cpus):
            yield affinity.json.error(name, f"{shown(cpus)} is not a list of CPUs such as '0-3,7'")


def labels_fit_into_a_page(process: Process, config: Config) -> "Iterator[ConfigError]":
    """proc(5), /proc/PID/attr: the kernel takes at most a page of a write, and would cut off the rest."""
    for name, label in (("apparmorProfile", process.apparmor_profile), ("selinuxLabel", process.selinux_label)):
        if len(label.encode()) > _LABEL:
            yield process.json.error(name, f"is longer than {_LABEL} bytes")


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
