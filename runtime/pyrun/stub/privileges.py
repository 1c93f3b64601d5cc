"""The rows that confine a process of config.json and drop its privileges, in the order that the kernel requires."""

import _stat as stat

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.capability import CAPABILITIES, mask
from foundation.linux.prctl import (
    LINUX_CAPABILITY_VERSION_3,
    PR_CAP_AMBIENT,
    PR_CAP_AMBIENT_CLEAR_ALL,
    PR_CAP_AMBIENT_RAISE,
    PR_CAPBSET_DROP,
    PR_CAPBSET_READ,
    PR_SET_DUMPABLE,
    PR_SET_KEEPCAPS,
    PR_SET_NO_NEW_PRIVS,
    capability_words,
    prctl,
)
from foundation.linux.resource import RLIMITS
from pyrun.config.document import KEEP_GROUPS, LANDLOCK, SCHED_CORE
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from foundation.linux.syscalls import Call
    from pyrun.config.document import Config, Process, Rlimit, User
    from pyrun.config.linux import Linux
    from pyrun.config.node import Node
    from pyrun.confine.landlock import Rules
    from pyrun.confine.seccomp import Filter
    from pyrun.stub.execve import Program
    from pyrun.stub.labels import Labels

TIOCSCTTY = 0x540E
KEYCTL_JOIN_SESSION_KEYRING = 1
F_SETFD, FD_CLOEXEC = 2, 1
EPERM, EINVAL, EROFS, ENOSYS = 1, 22, 30, 38

_NGROUPS_MAX = 65536  # <linux/limits.h>

# The stub needs up to this many descriptors; a lower RLIMIT_NOFILE is set after it has opened the last one.
_NOFILE_NEEDED = 64


class Confinement:
    """What confines a process in addition to ids, capabilities and limits. Most processes have none of it.

    calls    system calls for its scheduling and memory policy
    labels   its AppArmor profile or SELinux label
    rules    its Landlock rules
    keeps_groups   whether it keeps the supplementary groups of our caller
    filter   its seccomp filter

    Must be made before seal_imports(), because it imports modules. `init` is the pid of the container's init for a
    process of `exec`, and 0 for the init itself.
    """

    def __init__(self, process: "Process", config: "Config", init: int = 0) -> None:
        linux, annotations = config.linux, config.annotations
        self.calls = _calls(process, linux)
        if SCHED_CORE in annotations:
            from pyrun.confine import core_scheduling

            self.calls.append(core_scheduling.call(init))
        self.labels = _labels(process)
        self.keeps_groups = KEEP_GROUPS in annotations
        self.rules = _rules(annotations) if LANDLOCK in annotations else None
        self.filter = _filter(linux.seccomp, annotations) if linux.seccomp else None

    def open(self, in_user_namespace: bool) -> None:
        """Open the host's files that the stub needs. Must run while "/" and /proc are the host's."""
        if self.labels:
            self.labels.open(in_user_namespace)

    def descriptors(self) -> "list[int]":
        """Return the descriptors of open() that the stub needs; its rows close them."""
        return [self.labels.descriptor] if self.labels and self.labels.descriptor >= 0 else []


def _calls(process: "Process", linux: "Linux") -> "list[Call]":
    calls: list[Call] = []
    if process.scheduler or process.io_priority or linux.personality:
        from pyrun.confine import scheduling

        calls += scheduling.calls(process, linux)
    if linux.memory_policy:
        from pyrun.confine import memory_policy

        calls.append(memory_policy.call(linux.memory_policy))
    return calls


def in_words(error: OSError, process: "Process", linux: "Linux") -> Exception:
    """Return runc's words for a report of the stub, if it has some, or `error` itself."""
    if process.scheduler is None:
        return error
    from pyrun.confine import scheduling  # already loaded by Confinement()

    return scheduling.in_words(error, process.scheduler, linux)


def _labels(process: "Process") -> "Labels | None":
    if not (process.apparmor_profile or process.selinux_label):
        return None
    from pyrun.confine.labels import attributes
    from pyrun.stub.labels import Labels

    wanted = attributes(process)
    return Labels(wanted) if wanted else None


def _rules(annotations: "dict[str, str]") -> "Rules":
    from pyrun.confine.landlock import Rules

    return Rules(annotations)


def _filter(seccomp: "Node", annotations: "dict[str, str]") -> "Filter | None":
    from pyrun.confine.seccomp import compile  # with its tables it is larger than all else here
    from pyrun.stub import seccomp_load  # noqa: F401 - for execute()

    return compile(seccomp, annotations)


def affinity(table: Table, cpus: bytes) -> None:
    """Append the row that lets the process run on `cpus`, a mask as sched_setaffinity(2) takes it."""
    table.call("sched_setaffinity", 0, len(cpus), table.block(cpus), label="set CPU affinity")


def session(table: Table, process: "Process", keyring: str) -> None:
    """Append the rows that give the process its own session, controlling terminal (descriptor 0) and keyring.

    The keyring is a new one of the name `keyring`, unless that is "".
    """
    table.call("setsid", excused=(EPERM,))  # EPERM: the init is a session leader already
    if process.terminal:
        table.call("ioctl", 0, TIOCSCTTY, 0, label="ioctl TIOCSCTTY")
    if keyring:
        name = table.string(keyring.encode())
        table.call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, name, label="join session keyring", excused=(ENOSYS,))


def privileges(table: Table, process: "Process", confinement: Confinement, available: int) -> None:
    """Append the rows that set limits, ids and capabilities: after them the process has the privileges of the config.

    `available` are the capabilities that the process has when it comes to these rows, as a mask.

    One exception: loading a seccomp filter without no_new_privs needs CAP_SYS_ADMIN (seccomp(2)). If there is a filter,
    the process keeps that capability until execve(2) removes it. So the filter can be loaded last, by execute(), and
    need not allow any system call of ours but execve.
    """
    table.call("prctl", PR_SET_DUMPABLE, 0, label="prctl PR_SET_DUMPABLE")
    for rlimit in process.rlimits:
        _limit(table, rlimit, least=_NOFILE_NEEDED if rlimit.type == "RLIMIT_NOFILE" else 0)
    for name, arguments, label in confinement.calls:
        placed = [table.block(value) if isinstance(value, bytes) else value for value in arguments]
        table.call(name, *placed, label=label)
    if confinement.rules:
        # Before the ids change, because without no_new_privs this needs CAP_SYS_ADMIN; of the calls that follow only
        # execve opens a file.
        confinement.rules.place(table)
    keep = capability_sets(process, available)
    if confinement.filter and not process.no_new_privileges:
        sys_admin = mask(["CAP_SYS_ADMIN"]) & available
        keep["effective"] |= sys_admin
        keep["permitted"] |= sys_admin
    _drop_bounding(table, keep["bounding"])
    table.call("prctl", PR_SET_KEEPCAPS, 1, label="prctl PR_SET_KEEPCAPS")
    user = process.user
    table.call("setresgid", user.gid, user.gid, user.gid, label=f"setgid {user.gid}")
    table.call("setresuid", user.uid, user.uid, user.uid, label=f"setuid {user.uid}")
    _capabilities(table, keep)
    if process.no_new_privileges:
        table.call("prctl", PR_SET_NO_NEW_PRIVS, 1, label="prctl PR_SET_NO_NEW_PRIVS")


def _limit(table: Table, rlimit: "Rlimit", least: int = 0) -> None:
    limits = table.words(max(rlimit.soft, least), max(rlimit.hard, least))
    table.call("prlimit64", 0, RLIMITS[rlimit.type], limits, 0, label=f"error setting rlimit {rlimit.type}")


def capability_sets(process: "Process", available: int) -> "dict[str, int]":
    """Return the five sets as masks, without what is not `available`; empty if the config has no capabilities."""
    wanted = process.capabilities
    if wanted is None:
        return dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), 0)
    return {
        "bounding": mask(wanted.bounding) & available,
        "effective": mask(wanted.effective) & available,
        "inheritable": mask(wanted.inheritable) & available,
        "permitted": mask(wanted.permitted) & available,
        "ambient": mask(wanted.ambient) & available,
    }


def _drop_bounding(table: Table, keep: int) -> None:
    for number in range(_last_capability() + 1):
        if not keep >> number & 1:
            table.call("prctl", PR_CAPBSET_DROP, number, label="prctl PR_CAPBSET_DROP")


def _last_capability() -> int:
    """Return the highest capability that the kernel knows, so that those newer than our list are dropped, too."""
    number = len(CAPABILITIES) - 1
    while True:
        try:
            prctl(PR_CAPBSET_READ, number + 1)
        except OSError:
            break
        number += 1
    while True:
        try:
            prctl(PR_CAPBSET_READ, number)
            return number
        except OSError:
            number -= 1  # the kernel is older than our list


def _capabilities(table: Table, keep: "dict[str, int]") -> None:
    header = table.block(LINUX_CAPABILITY_VERSION_3.to_bytes(4, "little") + bytes(4))
    words = capability_words(keep["effective"], keep["permitted"], keep["inheritable"])
    table.call("capset", header, table.block(b"".join(word.to_bytes(4, "little") for word in words)))
    table.call("prctl", PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, label="prctl PR_CAP_AMBIENT_CLEAR_ALL")
    for number in range(64):
        # capabilities(7): only what is both permitted and inheritable can be ambient (CVE-2016-8867)
        if (keep["ambient"] & keep["permitted"] & keep["inheritable"]) >> number & 1:
            arguments = (PR_CAP_AMBIENT, PR_CAP_AMBIENT_RAISE, number)
            table.call("prctl", *arguments, label="prctl PR_CAP_AMBIENT_RAISE")


def execute(table: Table, process: "Process", program: "Program", filter_: "Filter | None") -> None:
    """Append the last rows: a low limit on descriptors, the seccomp filter, and the execution of the program."""
    for rlimit in process.rlimits:
        if rlimit.type == "RLIMIT_NOFILE" and min(rlimit.soft, rlimit.hard) < _NOFILE_NEEDED:
            _limit(table, rlimit)
    if filter_:
        from pyrun.stub import seccomp_load  # already loaded by Confinement(): imports are sealed by now

        seccomp_load.load(table, filter_)
    if program.reaper >= 0:
        from pyrun.stub import reaper  # already loaded by the runtime: imports are sealed by now

        reaper.execute(table, program, process.terminal)
    else:
        program.execute(table)


def replaces_groups(user: "User", denied: bool) -> bool:
    """Return whether our caller's supplementary groups are replaced by the user's, even if the user has none
    (CVE-2022-2989). `denied` says that setgroups(2) is forbidden in the user namespace; it fails if the user has some.
    """
    return bool(user.additional_gids) or not denied


def set_groups(user: "User") -> None:
    """Replace the supplementary groups of this process. Raises OSError."""
    try:
        os.setgroups(user.additional_gids)
    except OSError as error:
        error.filename = _groups_label(user)
        raise


def groups(table: Table, user: "User") -> None:
    """Append the row that replaces the supplementary groups. Raises Error if they are too many."""
    if len(user.additional_gids) > _NGROUPS_MAX:
        raise Error("too many groups")
    gids = b"".join(gid.to_bytes(4, "little") for gid in user.additional_gids)
    table.call("setgroups", len(user.additional_gids), table.block(gids), label=_groups_label(user))


def _groups_label(user: "User") -> str:
    return f"setgroups {' '.join(map(str, user.additional_gids))}".rstrip(" ")


def own_streams(table: Table, streams: "list[int]", uid: int, owner: int) -> None:
    """Append the rows that make `uid` the owner of 0, 1 and 2, so that it can open /dev/stdout and the like again.

    `streams` are our descriptors for them, or [] for ours; `owner` is `uid` as it is in our user namespace.
    """
    for number, fd in enumerate(streams or (0, 1, 2)):
        found = os.fstat(fd)
        shared = stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) == 1  # /dev/null: all processes share it
        if found.st_uid != owner and not shared:
            # EINVAL: the file's owner, or uid, is not mapped there. EPERM, EROFS: it may not change the owner. The
            # process can still use the open descriptors; runc and crun ignore these errors, too.
            table.call("fchown", number, uid, -1, label="fchown", excused=(EPERM, EINVAL, EROFS))
