"""How the kernel schedules a process: process.scheduler, process.ioPriority, linux.personality.

The stub makes these calls before it drops the privileges that they need.
Source: sched_setattr(2), ioprio_set(2), personality(2), <linux/sched/types.h>, <linux/ioprio.h>.
"""

from errno import EPERM

from foundation.errors import Error
from pyrun.config.process_rules import IO_CLASSES, POLICIES, SCHEDULER_FLAGS

TYPE_CHECKING = False
if TYPE_CHECKING:
    from foundation.linux.syscalls import Call
    from pyrun.config.document import IOPriority, Process, Scheduler
    from pyrun.config.linux import Linux

_DOMAINS = {"LINUX": 0, "LINUX32": 8}
_IOPRIO_WHO_PROCESS = 1
_IOPRIO_CLASS_SHIFT = 13
_ATTR_SIZE = 56  # SCHED_ATTR_SIZE_VER1, Linux 5.3: includes the fields for SCHED_FLAG_UTIL_CLAMP_*


def calls(process: "Process", linux: "Linux") -> "list[Call]":
    """Return the calls that config.json asks for."""
    found: list[Call] = []
    if linux.personality:
        domain = linux.personality.domain
        found.append(("personality", (_DOMAINS[domain],), f"personality {domain}"))
    if process.io_priority:
        found.append(_io_priority(process.io_priority))
    if process.scheduler:
        found.append(_scheduler(process.scheduler))
    return found


def in_words(error: OSError, wanted: "Scheduler", linux: "Linux") -> Exception:
    """Return runc's words for a report of the stub, if it has some, or `error` itself.

    The kernel refuses a policy such as SCHED_DEADLINE to a process that may not run on all CPUs (sched_setattr(2)).
    """
    cpu = linux.resources.cpu
    if error.filename == _label(wanted) and error.errno == EPERM and cpu and cpu.cpus:
        return Error("process scheduler can't be used together with AllowedCPUs")
    return error


def _label(wanted: "Scheduler") -> str:
    return f"scheduler {wanted.policy}"


def _io_priority(wanted: "IOPriority") -> "Call":
    number = IO_CLASSES.index(wanted.class_) + 1
    value = number << _IOPRIO_CLASS_SHIFT | wanted.priority
    return "ioprio_set", (_IOPRIO_WHO_PROCESS, 0, value), f"ioPriority {wanted.class_}"


def _scheduler(wanted: "Scheduler") -> "Call":
    flags = 0
    for flag in wanted.flags:
        flags |= 1 << SCHEDULER_FLAGS.index(flag)
    fields = (
        (_ATTR_SIZE, 4),
        (POLICIES.index(wanted.policy), 4),
        (flags, 8),
        (wanted.nice & 0xFFFFFFFF, 4),
        (wanted.priority, 4),
        (wanted.runtime, 8),
        (wanted.deadline, 8),
        (wanted.period, 8),
        (0, 8),
    )
    attr = b"".join(value.to_bytes(size, "little") for value, size in fields)
    return "sched_setattr", (0, attr, 0), _label(wanted)
