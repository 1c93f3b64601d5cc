"""How a process comes to life in a container that exists: `exec`, and the startContainer hooks.

      runtime                                 joining process
      (host namespaces)                       (host's pid namespace and cgroups)

      open the init's pidfd, root, cgroups
      fork ─────────────────────────────────▶ become undumpable
                                              join all namespaces, for its children that of pids
                                              terminal, program, directory
                           ◀── "terminal"     (with its master; only where there is one)
                                              execute the last mile: Python ends here
                                              clone ───────────▶ process in the container
                                              exit               (a child of the runtime)
                                                                 cgroups, limits, ids, capabilities
                             ◀── "joined" ──────────────────────
      wait for the end of the channel                            execve closes it

No interpreter is ever seen from inside: Python stays outside of the container's pid namespace, and what is in it is
the last mile, a program of a few hundred bytes.
"""

import os
from errno import EACCES

from pyrun.confine import oom
from pyrun.container import hooks
from pyrun.container.state import Container, process_name
from pyrun.errors import Error, reason
from pyrun.launch import descriptors, last_mile, namespaces, process, program
from pyrun.launch.channel import Channel
from pyrun.launch.departure import reset_signals, seal_imports
from pyrun.launch.last_mile import Entry
from pyrun.linux.prctl import PR_SET_DUMPABLE, prctl
from pyrun.linux.sched import CLONE_NEWCGROUP, setns
from pyrun.rootfs import console
from pyrun.rootfs.tree import Tree
from pyrun.spec.config import Config, Process, load_config
from pyrun.spec.node import root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.cgroup.group import Cgroup
    from pyrun.spec.config import Hook


class Target:
    """The container that is joined, as descriptors of its init: paths of /proc are used once, and the pid not again."""

    def __init__(self, container: Container, cgroup: "Cgroup") -> None:
        self.pidfd = os.pidfd_open(container.pid)
        if not process_name(container.pid, container.start_time):
            raise Error("cannot exec in a stopped container")
        proc = f"/proc/{container.pid}"
        self.root = os.open(f"{proc}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        self.types = _differing_namespaces(proc)
        self.host = program.Host(container.pid)
        by_file = bool(self.types & namespaces.FLAGS["user"])
        into = -1 if by_file else last_mile.detach(cgroup.open_v2())
        namespace = -1
        if self.types & CLONE_NEWCGROUP and not by_file:
            namespace = os.open(f"{proc}/ns/cgroup", os.O_RDONLY | os.O_CLOEXEC)
            self.types ^= CLONE_NEWCGROUP
        # Without root one may move only within what was delegated, which where we are need not be part of: as with
        # runc, the process is then in the container, but not in its cgroup.
        excused = EACCES if os.geteuid() != 0 else 0
        joins = _rdt_files(container) + cgroup.open_files(v2=by_file)
        self.entry = Entry(True, into, joins, False, namespace, excused)


def _rdt_files(container: Container) -> "list[int]":
    if not container.intel_rdt:
        return []
    from pyrun.confine.intel_rdt import of_state  # few containers have some

    return of_state(container.intel_rdt).open_files()


def _differing_namespaces(proc: str) -> int:
    """Return CLONE_NEW* of those that are not ours already: one's own user namespace cannot be joined, setns(2)."""
    types = 0
    for type_, flag in namespaces.FLAGS.items():
        name = namespaces.PROC_NAMES.get(type_, type_)
        try:
            if os.stat(f"{proc}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
                types |= flag
        except FileNotFoundError:
            pass  # a kernel without this type
    return types


class Joining:
    """A process that shall join a container, and what goes with it.

    config       that of the container, None for hooks
    init         the container's, as the host sees it
    streams      its standard streams, [] for ours
    path         its program, "" for what its first argument names
    """

    def __init__(
        self,
        process_: Process,
        preserved: descriptors.Preserved,
        config: "Config | None" = None,
        init: int = 0,
        streams: "list[int] | None" = None,
        path: str = "",
    ) -> None:
        self.process = process_
        self.preserved = preserved
        self.confinement = process.Confinement(process_, config, init)
        self.streams = streams or []
        self.path = path


def join(
    target: Target,
    joining: Joining,
    take_terminal: "Callable[[list[int]], None]" = lambda masters: None,
    take_listener: "Callable[[int, int], None]" = lambda channel, pid: None,
) -> int:
    """Execute the process in the container and return its pid: our child, whose program runs.

    Raises Error or OSError where it did not come to that.
    """
    memfd = last_mile.prepare()
    ours, theirs = Channel.pair()
    child = os.fork()
    if child == 0:
        ours.close()
        _run_as_child(target, joining, theirs, memfd)
    theirs.close()
    try:
        if joining.process.terminal:
            take_terminal(ours.hear("terminal").descriptors)
        pid = ours.hear("joined").pid
    finally:
        os.waitpid(child, 0)
    try:
        if joining.confinement.filter and joining.confinement.filter.notify:
            take_listener(ours.fileno(), pid)
        ours.hear_end()
    except (Error, OSError):
        ours.close()
        os.waitpid(pid, 0)
        raise
    return pid


def _run_as_child(target: Target, joining: Joining, channel: Channel, memfd: int) -> None:
    """Run _join() in the forked child: report what it raises, and never return to the parent's code."""
    try:
        _join(target, joining, channel, memfd)
    except BaseException as error:
        channel.fail(reason(error))
    finally:
        os._exit(1)


def _join(target: Target, joining: Joining, channel: Channel, memfd: int) -> None:
    process_, streams = joining.process, joining.streams
    own_descriptors = console.open_own_descriptors()
    if process_.oom_score_adj is not None:
        oom.adjust_score("self", process_.oom_score_adj)
    # Before it joins: whoever is in there must not look into this process (CVE-2016-9962).
    prctl(PR_SET_DUMPABLE, 0)
    joining.confinement.open(bool(target.types & namespaces.FLAGS["user"]))
    reset_signals()
    seal_imports()
    setns(target.pidfd, target.types)
    os.fchdir(target.root)
    os.chroot(".")  # setns(2) enters the root of the mount namespace, which need not be that of the init
    if target.types & namespaces.FLAGS["user"]:
        namespaces.become_root()

    if process_.terminal:
        master, slave = console.open_terminal(Tree(target.root), own_descriptors)
        if process_.console_size:
            console.set_size(slave, process_.console_size.height, process_.console_size.width)
        streams = [slave] * 3
        channel.say("terminal", [master])
    joining.confinement.enter()
    if not joining.confinement.keeps_groups:
        process.set_groups(process_.user, target.host.denies_groups)
    found = program.find(process_, target.host, joining.preserved.environment, joining.path)
    if process_.user.umask is not None:
        os.umask(process_.user.umask)
    needed = [channel.fileno(), *joining.confinement.descriptors(), *target.entry.descriptors()]
    memfd, numbers = descriptors.place(joining.preserved, streams, needed, memfd, process_.user.uid)
    report, *rest = numbers
    entry = target.entry.at(joining.confinement.move(rest))
    table = last_mile.join(report, entry, process_, found, joining.confinement)
    last_mile.carry_out(memfd, table)


def run_hooks(container: Container, kind: str, wanted: "list[Hook]") -> None:
    """Run hooks that belong inside the container: each is executed as `exec` would execute it."""
    target = Target(container, container.cgroup())
    config = load_config(container.config_file)

    def spawn(hook: "Hook", streams: "list[int]") -> int:
        process_ = _hook_process(hook, config)
        return join(target, Joining(process_, descriptors.receive("0"), streams=streams, path=hook.path))

    hooks.run(kind, wanted, container.oci_state("created"), spawn)


def _hook_process(hook: "Hook", config: Config) -> Process:
    """Return the hook as a process with the user, the capabilities and the limits of the container's own.

    What is at hook.path is the image's, so it may be hostile, and must not be given more than that is.
    """
    own = config.process.json.properties if config.process else {}
    changes = {"args": hook.args or [hook.path], "cwd": "/", "terminal": False}
    if hook.env is not None:  # without one it has that of the program, as in runc and crun
        changes["env"] = hook.env
    return Process(root({**own, **changes}, "state.json: hooks"))
