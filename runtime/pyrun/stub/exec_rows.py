"""The table of a process of `exec`: the stub's rows, in order."""

from errno import EACCES, EINVAL

from foundation.linux import os
from foundation.linux.cpu_list import ALL_CPUS, bit_mask
from foundation.linux.openat2 import AT_FDCWD, HOW_SIZE, RESOLVE_IN_ROOT, RESOLVE_NO_SYMLINKS
from foundation.linux.prctl import PR_SET_DUMPABLE, capget
from foundation.linux.sched import CLONE_NEWUSER
from pyrun.stub import privileges
from pyrun.stub.entry import Entry, end_parent, enter
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Process
    from pyrun.stub.execve import Program
    from pyrun.stub.privileges import Confinement

F_SETFD, FD_CLOEXEC = 2, 1
_INTERNAL_SIGNALS = (32, 33)  # glibc's: its posix_spawn(3) has them ignored, and lets nobody name them
_SIGACTION_SIZE = 32  # bytes of the kernel's struct sigaction, which are all 0 for SIG_DFL
_ALL_CAPABILITIES = (1 << 64) - 1
_PATH_MAX = 4096
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC

# Labels for which launch/exec.py has longer sentences.
CHANGE_DIRECTORY = "chdir to process.cwd"
LEAVES_ROOT = "chdir out of the root"
OOM_SCORE = "process.oomScoreAdj"


class Inside:
    """Where a process of `exec` goes before it is cloned: the namespaces and the root of a container's init.

    pidfd           descriptor of the init
    types           CLONE_NEW* of its namespaces that are not ours
    root            descriptor of its root directory
    denies_groups   whether setgroups(2) is forbidden in its user namespace
    """

    def __init__(self, pidfd: int, types: int, root: int, denies_groups: bool) -> None:
        self.pidfd = pidfd
        self.types = types
        self.root = root
        self.denies_groups = denies_groups

    @property
    def in_user_namespace(self) -> bool:
        """Whether the init is in another user namespace than we are."""
        return bool(self.types & CLONE_NEWUSER)


def create(
    table: Table,
    inside: Inside,
    entry: Entry,
    process_: "Process",
    program: "Program",
    confinement: "Confinement",
    keyring: str,
    owner: int,
    streams: "list[int]",
) -> None:
    """Append the rows of a process of `exec`, which the runtime has started outside of the container.

    `owner` is the process's uid as it is in our user namespace; `streams` are as in own_streams().
    """
    for signal in _INTERNAL_SIGNALS:
        table.call("rt_sigaction", signal, table.block(bytes(_SIGACTION_SIZE)), 0, 8)
    if process_.oom_score_adj is not None:
        _adjust_oom_score(table, process_.oom_score_adj)
    # config.md#process: "initial" holds until the process is in the container's cgroup, "final" from there on.
    wanted = process_.exec_cpu_affinity
    initial, final = (wanted.initial, wanted.final) if wanted else ("", "")
    if initial:
        privileges.affinity(table, bit_mask(initial))
    _go_inside(table, inside)
    privileges.own_streams(table, streams, process_.user.uid, owner)
    if not confinement.keeps_groups and privileges.replaces_groups(process_.user, inside.denies_groups):
        privileges.groups(table, process_.user)
    _change_directory(table, inside.root, process_)
    if process_.user.umask is not None:
        table.call("umask", process_.user.umask)
    clone_row = enter(table, entry, word=b"born")
    if final or not initial:
        privileges.affinity(table, bit_mask(final) if final else ALL_CPUS)
    if confinement.labels:
        confinement.labels.place(table)
    privileges.session(table, process_, keyring)
    # By entering a user namespace it got all capabilities there (user_namespaces(7)).
    available = _ALL_CAPABILITIES if inside.in_user_namespace else capget()[1]
    privileges.privileges(table, process_, confinement, available)
    table.call("fcntl", table.report, F_SETFD, FD_CLOEXEC, label="fcntl FD_CLOEXEC")
    privileges.execute(table, process_, program, confinement.filter)
    end_parent(table, clone_row)


def _adjust_oom_score(table: Table, value: int) -> None:
    """Append the rows that set oom_score_adj, proc(5). They come first, because /proc must be the host's, and in a user
    namespace the score may not be lowered."""
    # Without root, an undumpable process may not write to its own /proc files, and the stub starts as one (elf.py).
    table.call("prctl", PR_SET_DUMPABLE, 1, label="prctl PR_SET_DUMPABLE")
    path, text = table.string(b"/proc/self/oom_score_adj"), b"%d" % value
    how = table.words(os.O_WRONLY | os.O_CLOEXEC, 0, 0)
    fd = table.open("openat2", AT_FDCWD, path, how, HOW_SIZE, label=OOM_SCORE)
    table.call("write", fd, table.string(text), len(text), label=OOM_SCORE)
    table.close(fd)


def _go_inside(table: Table, inside: Inside) -> None:
    """Append the rows that enter the namespaces, but not yet the pid namespace, and the root of the container."""
    # First, because no process of the container may look into this one (CVE-2016-9962). Not even root of its user
    # namespace may, because this one's memory stays in the user namespace that the stub was executed in (execve(2)).
    table.call("prctl", PR_SET_DUMPABLE, 0, label="prctl PR_SET_DUMPABLE")
    if inside.types:
        table.call("setns", inside.pidfd, inside.types)
    table.close(inside.pidfd)
    # setns(2) enters the root of the mount namespace, which may differ from the init's.
    table.call("fchdir", inside.root)
    table.call("chroot", table.string(b"."))
    if inside.in_user_namespace:
        # EINVAL: 0 is not mapped; entering has given the process all capabilities in any case.
        table.call("setresgid", 0, 0, 0, excused=(EINVAL,))
        table.call("setresuid", 0, 0, 0, excused=(EINVAL,))
        # Again, because a change of ids resets it to fs.suid_dumpable, prctl(2).
        table.call("prctl", PR_SET_DUMPABLE, 0, label="prctl PR_SET_DUMPABLE")


def _change_directory(table: Table, root: int, process_: "Process") -> None:
    """Append the rows that enter process.cwd, and close `root`, the container's root directory.

    A link of procfs may lead out of the root, by a descriptor of this process (CVE-2024-21626) or by another process of
    the host. getcwd(2) then returns "(unreachable)/...", which leads nowhere below the root, where it is opened again.
    """
    path = table.string(os.fsencode(process_.cwd) + b"/.")  # "/.": the directory must permit to enter it
    directory = (path, table.words(_DIRECTORY, 0, 0), HOW_SIZE)
    as_root = table.call("openat2", AT_FDCWD, *directory, label=CHANGE_DIRECTORY, excused=(EACCES,))
    # On a network file system the user may enter directories that root may not.
    table.call("setfsgid", process_.user.gid)
    table.call("setfsuid", process_.user.uid)
    fd = table.open("openat2", AT_FDCWD, *directory, label=CHANGE_DIRECTORY)
    as_root.jump_to = len(table.rows)
    table.call("fchdir", fd, label=CHANGE_DIRECTORY)
    table.close(fd)
    found = table.block(bytes(_PATH_MAX))
    table.call("getcwd", found, _PATH_MAX, label=LEAVES_ROOT)
    how = table.words(_DIRECTORY, 0, RESOLVE_IN_ROOT | RESOLVE_NO_SYMLINKS)
    fd = table.open("openat2", root, found, how, HOW_SIZE, label=LEAVES_ROOT)
    table.call("fchdir", fd, label=CHANGE_DIRECTORY)
    table.close(fd)
    table.close(root)
    table.call("setfsuid", 0)
    table.call("setfsgid", 0)
