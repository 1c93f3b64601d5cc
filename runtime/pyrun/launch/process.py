"""A process of config.json as rows of the last mile: what takes its privileges, in the order that the kernel wants."""

import os
import stat

from pyrun.confine.capabilities import CAPABILITIES, mask
from pyrun.confine.rlimits import RLIMITS
from pyrun.launch.program import Program
from pyrun.launch.table import Table
from pyrun.linux.prctl import (
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
    capget,
    prctl,
)
from pyrun.spec.config import KEEP_GROUPS, LANDLOCK, SCHED_CORE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.confine.landlock import Rules
    from pyrun.confine.seccomp import Filter
    from pyrun.launch.labels import Labels
    from pyrun.spec.config import Config, Process, Rlimit, User
    from pyrun.spec.linux import Linux
    from pyrun.spec.node import Node

    Call = tuple[str, tuple[int | bytes, ...], str]  # name, arguments, label; bytes are what the argument points to

TIOCSCTTY = 0x540E
KEYCTL_JOIN_SESSION_KEYRING = 1
SECCOMP_SET_MODE_FILTER = 1
F_SETFD, FD_CLOEXEC = 2, 1
EPERM, EINVAL, EROFS, ENOSYS = 1, 22, 30, 38

# What the process says when its filter has a listener, before the number of that, and what it hears when that is taken.
HAS_LISTENER = b"seccomp "
ACKNOWLEDGEMENT = b"1"

# Descriptors that the last mile itself needs while it waits; a lower limit comes after it has opened its last one.
_NOFILE_NEEDED = 64


class Confinement:
    """What holds a process beside its ids, capabilities and limits. Nothing of it for most processes.

    calls    for what scheduling and memory policy ask for
    labels   what a security module shall call it
    rules    what Landlock lets it do
    keeps_groups   whether its groups are those of our caller
    filter   which system calls it may make

    To be made before pivot_root: it imports what makes its parts. `init` is that of the container that the process
    joins, 0 for the init itself; `config` is None for hooks, which have little of this.
    """

    def __init__(self, process: "Process", config: "Config | None", init: int = 0) -> None:
        linux = config.linux if config else None
        annotations = config.annotations if config else {}
        self.calls = _calls(process, linux)
        if SCHED_CORE in annotations:
            from pyrun.confine import core_scheduling

            self.calls.append(core_scheduling.call(init))
        self.labels = _labels(process)
        self.keeps_groups = KEEP_GROUPS in annotations
        self.rules = _rules(annotations) if LANDLOCK in annotations else None
        self.filter = _compile(linux.seccomp) if linux and linux.seccomp else None

    def open(self, in_user_namespace: bool) -> None:
        """Open what the last mile needs of the host's. Must run before the container's mount namespace is entered."""
        if self.labels:
            self.labels.open(in_user_namespace)

    def enter(self) -> None:
        """Open what the last mile needs of the container's. Must run in its root."""
        if self.rules:
            self.rules.make()

    def descriptors(self) -> "list[int]":
        return [part.descriptor for part in (self.labels, self.rules) if part and part.descriptor >= 0]

    def move(self, descriptors: "list[int]") -> "list[int]":
        """Take note of the numbers that they have in the last mile, the first of `descriptors`; return the others."""
        for part in (self.labels, self.rules):
            if part and part.descriptor >= 0:
                part.descriptor, *descriptors = descriptors
        return descriptors


def _calls(process: "Process", linux: "Linux | None") -> "list[Call]":
    calls: list[Call] = []
    if process.scheduler or process.io_priority or (linux and linux.personality):
        from pyrun.confine import scheduling

        calls += scheduling.calls(process, linux)
    if linux and linux.memory_policy:
        from pyrun.confine import memory_policy

        calls.append(memory_policy.call(linux.memory_policy))
    return calls


def _labels(process: "Process") -> "Labels | None":
    if not (process.apparmor_profile or process.selinux_label):
        return None
    from pyrun.confine.labels import attributes
    from pyrun.launch.labels import Labels

    wanted = attributes(process)
    return Labels(wanted) if wanted else None


def _rules(annotations: "dict[str, str]") -> "Rules":
    from pyrun.confine.landlock import Rules

    return Rules(annotations)


def _compile(seccomp: "Node") -> "Filter | None":
    from pyrun.confine.seccomp import compile  # with its tables it is larger than all else here

    return compile(seccomp)


def affinity(table: Table, cpus: bytes) -> None:
    table.call("sched_setaffinity", 0, len(cpus), table.block(cpus), label="set CPU affinity")


def session(table: Table, process: "Process", keyring: "str | None") -> None:
    """A session of its own, with the terminal (descriptor 0) as the controlling one, and a keyring of its own."""
    table.call("setsid", excused=EPERM)  # the init has one already
    if process.terminal:
        table.call("ioctl", 0, TIOCSCTTY, 0, label="ioctl TIOCSCTTY")
    if keyring:
        name = table.string(f"_ses.{keyring}".encode())
        table.call("keyctl", KEYCTL_JOIN_SESSION_KEYRING, name, label="join session keyring", excused=ENOSYS)


def privileges(table: Table, process: "Process", confinement: Confinement) -> None:
    """Limits, groups, ids, capabilities: from here on the process may what the config says.

    And load its system call filter: that needs CAP_SYS_ADMIN where no_new_privs is not set, so it is kept until execve,
    which takes it away. So the filter can be loaded last, and need not allow any call of ours but execve itself.
    """
    table.call("prctl", PR_SET_DUMPABLE, 0, label="prctl PR_SET_DUMPABLE")
    for rlimit in process.rlimits:
        _limit(table, rlimit, least=_NOFILE_NEEDED if rlimit.type == "RLIMIT_NOFILE" else 0)
    for name, arguments, label in confinement.calls:
        placed = [table.block(value) if isinstance(value, bytes) else value for value in arguments]
        table.call(name, *placed, label=label)
    if confinement.rules:
        # Here it may without no_new_privs, having CAP_SYS_ADMIN; and nothing that follows opens a file but execve.
        table.call("landlock_restrict_self", confinement.rules.descriptor, 0, label="restrict by Landlock")
        table.call("close", confinement.rules.descriptor)
    keep = capability_sets(process)
    if confinement.filter and not process.no_new_privileges:
        sys_admin = mask(["CAP_SYS_ADMIN"]) & capget()[1]
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


def capability_sets(process: "Process") -> "dict[str, int]":
    """Return the five sets as masks, without what this process has not itself; no sets at all mean none."""
    wanted = process.capabilities
    if wanted is None:
        return dict.fromkeys(("bounding", "effective", "inheritable", "permitted", "ambient"), 0)
    available = capget()[1]
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
    """Return the highest capability that the kernel knows: newer ones than ours are dropped too."""
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
            number -= 1  # an older kernel than ours


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


def execute(table: Table, process: "Process", program: Program, filter_: "Filter | None") -> None:
    """The end: the limit on descriptors that had to wait, the system call filter, and the program."""
    for rlimit in process.rlimits:
        if rlimit.type == "RLIMIT_NOFILE" and min(rlimit.soft, rlimit.hard) < _NOFILE_NEEDED:
            _limit(table, rlimit)
    if filter_:
        # struct sock_fprog: the number of instructions, which have eight bytes, and where they are
        instructions = table.words(len(filter_.program) // 8, table.block(filter_.program))
        table.call("seccomp", SECCOMP_SET_MODE_FILTER, filter_.flags, instructions, label="load seccomp filter")
        if filter_.notify:
            _hand_over_listener(table)
    if program.init >= 0:
        from pyrun.launch import init  # imported by the runtime already: nothing can be imported here

        init.execute(table, program, process.terminal)
    else:
        program.execute(table)


def _hand_over_listener(table: Table) -> None:
    """Wait until the runtime has the listener (listener.py); end where it goes without having taken it."""
    # The lowest free number: below `report` all are in use, and what was above it is closed by now. It has
    # close-on-exec already, seccomp(2).
    word = HAS_LISTENER + b"%d" % (table.report + 1)
    table.call("write", table.report, table.string(word), len(word), label="report seccomp listener")
    answer = table.block(bytes(len(ACKNOWLEDGEMENT)))
    acknowledged = table.call("read", table.report, answer, len(ACKNOWLEDGEMENT), label="hand over seccomp listener")
    table.call("exit_group", 1)
    acknowledged.jump_to = len(table.rows)


def set_groups(user: "User", denied: bool) -> None:
    """Take the additional groups, and lose those of our caller, also where there are none (CVE-2022-2989)."""
    if user.additional_gids or not denied:
        try:
            os.setgroups(user.additional_gids)
        except OSError as error:
            error.filename = f"setgroups {' '.join(map(str, user.additional_gids))}"
            raise


def own_streams(uid: int) -> None:
    """Give the standard streams to `uid`, so that the process can open /dev/stdout and its kin again."""
    for fd in (0, 1, 2):
        found = os.fstat(fd)
        shared = stat.S_ISCHR(found.st_mode) and os.major(found.st_rdev) == 1  # /dev/null: everybody's
        if found.st_uid == uid or shared:
            continue
        try:
            os.fchown(fd, uid, -1)
        except OSError as error:
            # EINVAL: the file's owner, or uid, is unmapped here; EPERM, EROFS: the file is not ours to give. The
            # process then writes to what it has open; runc and crun go on as well.
            if error.errno not in (EPERM, EINVAL, EROFS):
                raise
