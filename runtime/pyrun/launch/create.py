"""The creation of a container.

      runtime                                 init
      (host namespaces)                       (becomes the container)

      make the cgroup v2
      clone ────────────────────────────────▶ join and make namespaces
                             ◀── "entered"    (both words only if Namespaces.need_runtime:
      map ids, set the OOM score              otherwise clone makes the namespaces, and
                               "go" ──▶       the init makes its first mounts at once)
      make the cgroups v1, limits             mounts up to that of cgroups
                          "cgroups" ──▶       (with the descriptors for joining them)
      connect the network                     join, other mounts, devices, terminal
                        "connected" ──▶       (only if there are interfaces to connect)
                            ◀── "mounted"     (with the terminal's master)
      prestart, createRuntime hooks
                         "hooks ran" ──▶      (both only if there are hooks, or is a terminal)
                                              createContainer hooks
                                              sysctl, masks, pivot_root
                                              look up the program
                                              execute the stub: Python ends here
                                              memory cgroup, limits, ids, capabilities
                              ◀── "ready"
      memory limit on cgroup v2
      save the state
                             "saved" ──▶      (end of file, if the runtime was killed: exit)
      exit                                    wait at the gate for `start`, execve

Each side waits only for the next word of this diagram. So _runtime() and _init(), read side by side from top to bottom,
show the order in which things happen. A side that fails sends its reason, and the other side raises it.

The kernel gives the runtime the init's pid with each word, because the pid can change twice: if the namespaces must be
entered in steps (Namespaces.in_steps), and if only a child is in them, which the stub then makes
(Namespaces.entered_by_child).
"""

import sys
import time

from foundation import interrupts
from foundation.errors import Error
from foundation.linux import os
from foundation.linux.prctl import PR_SET_DUMPABLE, prctl
from foundation.linux.sched import CLONE_NEWUSER
from foundation.linux.whole_file import write_value
from pyrun import log
from pyrun.cgroup import join
from pyrun.config.document import PIDFD_RECEIVER, Config
from pyrun.confine import oom
from pyrun.container import state
from pyrun.container.process import process_stat
from pyrun.container.state import Container
from pyrun.launch import gate, look_up
from pyrun.launch.image_files import ImageFiles
from pyrun.launch.inherited import Inherited
from pyrun.launch.plan import Plan, Request
from pyrun.launch.undo import Undo
from pyrun.namespaces import namespaces
from pyrun.namespaces.names import identify
from pyrun.rootfs.setup import Root
from pyrun.stdio import sockets
from pyrun.stub import carrier, init_rows, privileges
from pyrun.stub.channel import Channel, Ended
from pyrun.stub.child import run
from pyrun.stub.departure import reset_signals, seal_imports
from pyrun.stub.entry import Entry, detach
from pyrun.stub.execve import Program
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    from pyrun.config.document import Hook

    T = TypeVar("T")


def create(request: Request, undo: Undo) -> "tuple[Container, int]":
    """Create the container of the request; its init then waits at the gate.

    Returns (container, terminal): `terminal` is the master end, which the caller must relay and close, or -1. Raises
    Error or OSError; `undo` then removes everything that was made.
    """
    memfd = carrier.prepare()  # first, because it may restart this command
    plan = Plan(request)
    inherited = Inherited(plan, memfd)
    container = begin(plan, undo)  # before anything else is made, so that `delete` finds it if we are killed
    if request.offers_notify:
        from pyrun.launch import notify  # few callers are services that report when they are ready

        notify.make_directory(container)
    if not plan.config.linux.namespace("mount"):
        _mount_root(container, undo)
    if plan.root.overlay:
        _check_overlay(container)
        undo.add(plan.root.overlay.undo)
        plan.root.overlay.make()
    try:
        terminal = _runtime(plan, container, inherited, undo)
    except Ended:
        raise _why_it_ended(plan, container.pid) from None
    except OSError as error:
        raise privileges.in_words(error, plan.process, plan.config.linux) from error
    for warning in plan.warnings:
        log.warning(warning)
    return container, terminal


def _why_it_ended(plan: Plan, pid: int) -> Error:
    """Return why the init, our child `pid`, has ended without a word."""
    if plan.cgroup.oom_kills():
        memory = plan.config.linux.resources.memory
        limit = f": linux.resources.memory.limit is {memory.limit} bytes" if memory else ""
        return Error(f"container init was OOM-killed (memory limit too low?){limit}")
    from pyrun.launch import early_end  # only for the message

    return early_end.of_zombie("container init", pid, plan.cgroup)


def begin(plan: Plan, undo: Undo) -> Container:
    """Make the state directory of a new container, and let `undo` remove it and what will be made outside of it."""
    mask = interrupts.hold()  # an interruption before add_last() would leave the directory behind
    container = state.new(plan.request.root_directory, plan.request.id)
    undo.add_last(container.remove)
    interrupts.release(mask)
    plan.cgroup.refuse_in_use()  # before save(), because `delete` kills what is in the cgroup of a saved state
    _describe(container, plan)
    container.save()
    container.keep_config(plan.data)
    undo.add(plan.cgroup.undo)
    if plan.class_of_service:
        undo.add(plan.class_of_service.remove)
    return container


def _describe(container: Container, plan: Plan) -> None:
    config: Config = plan.config
    container.bundle = plan.bundle
    container.rootfs = plan.root.path
    container.overlay = plan.request.overlay or ""
    container.created = state.timestamp(time.time_ns())
    own = process_stat(os.getpid())
    container.creator = (os.getpid(), own[2] if own else 0)
    if plan.request.monitor:
        from pyrun.container.exit_status import make  # few containers have a monitor

        container.monitor = container.creator
        make(container)
    container.shares_pids = not config.linux.makes("pid")
    container.keyring = plan.request.keyring
    filter_ = plan.confinement.filter
    if filter_ and filter_.notify:
        container.listener = (os.path.abspath(filter_.listener_path), filter_.listener_metadata)
    container.annotations = config.annotations
    container.cgroup_paths = plan.cgroup.paths
    container.reuses_cgroup = plan.cgroup.is_reused()
    container.intel_rdt = plan.class_of_service.paths() if plan.class_of_service else {}
    container.unit = plan.cgroup.unit
    kinds = ("startContainer", "poststart", "poststop")
    container.hooks = {kind: config.hooks[kind] for kind in kinds}


def _mount_root(container: Container, undo: Undo) -> None:
    from pyrun.rootfs import on_host  # few containers have no mount namespace

    def note(id_: int) -> None:
        container.root_mount = id_
        container.save()  # before the mount is made, so that `delete` finds it if we are killed in between

    undo.add(lambda: on_host.unmount(container.rootfs, container.root_mount))
    on_host.mount(container.rootfs, note)


def _check_overlay(container: Container) -> None:
    """Raise Error if another container uses the writable layer: with two overlays on it, behavior is undefined
    (overlayfs.rst, "Sharing and copying layers").

    This container is saved by now, so if two are created at once, at least one sees the other.
    """
    for other in state.load_all(os.path.dirname(container.directory)) if container.overlay else ():
        if other.overlay == container.overlay and other.id != container.id and other.status() != "stopped":
            raise Error(f"--overlay={container.overlay}: in use by the container {other.id}")


def _runtime(plan: Plan, container: Container, inherited: Inherited, undo: Undo) -> int:
    """Make the init of `container`, and do the runtime's part until it waits at the gate.

    Returns the master end of its terminal that the caller must relay, or -1.
    """
    plan.cgroup.create_v2()  # before the clone, because clone3 makes the init in this cgroup
    log.debug(f"create {container.id} of {plan.bundle}, cgroups {' '.join(plan.cgroup.directories)}")
    listener = gate.listen(container)  # before the clone, because the init inherits the socket
    os.chdir(plan.bundle)  # gate.listen() has changed the working directory
    opener = inherited.open_for_init(plan, container)
    in_user_namespace = plan.config.linux.namespace("user") is not None
    by_file = container.reuses_cgroup or (plan.namespaces.entered_by_child and in_user_namespace)
    child, ours = _clone(plan, container, inherited, listener.fileno(), by_file, undo)
    if plan.namespaces.need_runtime:
        child.replaced_by(ours.hear("entered").pid)
        container.pid = child.pid
        if opener:
            opener.start(child.pid, ours)
            undo.add(opener.kill)
        _map_ids(plan, child.pid)
        _adjust_oom_score(plan, child.pid)  # before "go": after it, the init's files in /proc may not be ours
        ours.say("go")
    else:
        _meanwhile(ours, _adjust_oom_score, plan, child.pid)

    ours.say("cgroups", _meanwhile(ours, _make_cgroups, plan, child.pid, by_file))
    # Here, because the init makes its other mounts meanwhile; before the hooks, which may run for long, and use the
    # network.
    read_program()
    if plan.connects_interfaces:
        _meanwhile(ours, _connect_interfaces, plan, child.pid, undo)
        ours.say("connected")

    terminal = -1
    if plan.pauses_before_pivot:
        heard = ours.hear("mounted")
        # After the mounts and before pivot_root, because the spec says so (config.md#posix-platform-hooks).
        run_hooks(plan, container, undo, inherited.hook_output)
        terminal = plan.console.take(heard.descriptors)
        ours.say("hooks ran")

    ready = ours.hear("ready")
    child.replaced_by(ready.pid)
    container.program = ready.text
    if opener:
        opener.wait()
    plan.cgroup.limit_memory(plan.config.linux.resources)  # after "ready", because the init's Python has gone by then
    log.debug(f"init {child.pid} of {container.id} waits to be started")
    container.record_created(child.pid)
    # After the state is saved, because no command could find the init before: if we are killed earlier, it exits.
    ours.say("saved")
    # After "saved", because the caller may call `start` or `kill` as soon as it knows the pid.
    _announce(plan, child.pid)
    return terminal


def _clone(
    plan: Plan, container: Container, inherited: Inherited, gate_: int, by_file: bool, undo: Undo
) -> "tuple[Child, Channel]":
    """Make the init, in its cgroup v2 unless it joins that `by_file`; return it, and our end of its channel."""
    ours, theirs = Channel.pair()
    late_birth = plan.namespaces.entered_by_child
    into = -1 if by_file or plan.cgroup.made_around_init else join.directory(plan.cgroup)
    if late_birth:
        into = detach(into)
    # Block SIGINT and SIGTERM across the fork: a child interrupted before it is in run() would run the parent's undo
    # steps. The child unblocks them in reset_signals(), after setsid() has taken it out of reach of ^C.
    mask = interrupts.hold()
    child = Child(plan.namespaces.start(-1 if late_birth else into))
    if child.pid == 0:
        ours.close()
        run(lambda: _init(plan, container, inherited, theirs, gate_, into), theirs.fail)
    undo.add(child.kill)
    interrupts.release(mask)
    theirs.close()
    container.pid = child.pid  # _why_it_ended() needs it, if the init ends now
    return child, ours


def _meanwhile(ours: Channel, do: "Callable[..., T]", *arguments: "Any") -> "T":
    """Return what `do` returns, which does something for the init while that goes on.

    If `do` fails, the init may have failed before: then raise the init's reason.
    """
    try:
        return do(*arguments)
    except (Error, OSError):
        ours.raise_reason()
        raise


def _map_ids(plan: Plan, pid: int) -> None:
    """Map the ids of the init's new user namespace, as which it then becomes root."""
    linux = plan.config.linux
    if linux.makes("user"):
        from pyrun.namespaces.id_maps import map_ids  # few containers have a user namespace

        map_ids(pid, linux.uid_mappings, linux.gid_mappings)


def _adjust_oom_score(plan: Plan, pid: int) -> None:
    if plan.process.oom_score_adj is not None:
        oom.adjust_score(pid, plan.process.oom_score_adj)


def _connect_interfaces(plan: Plan, pid: int, undo: Undo) -> None:
    if plan.config.linux.net_devices:
        from pyrun.namespaces import net_devices  # few containers have some

        net_devices.move(plan.config.linux.net_devices, pid, undo.add)
    if plan.request.connect:
        plan.request.connect(pid)


def _make_cgroups(plan: Plan, pid: int, by_file: bool) -> "list[int]":
    """Make the cgroups that the init is not in yet, with their limits; return the files by which it joins them."""
    resources = plan.config.linux.resources
    plan.cgroup.create_v1()
    plan.cgroup.adopt(pid, resources)  # systemd makes a scope only around a process
    # Before the program and the hooks run in the container. On cgroup v2 the memory limit waits (limit_memory), because
    # it may be less than Python needs.
    plan.cgroup.apply(resources, memory=False)
    plan.give_cgroup_away()
    joins = join.open_files(plan.cgroup, v2=by_file)
    if not plan.class_of_service:
        return joins
    plan.class_of_service.create()
    return plan.class_of_service.open_files() + joins


def _announce(plan: Plan, pid: int) -> None:
    """Give the pid of the init, or a pidfd of it, to the receivers that options and annotations name."""
    for receiver in (plan.request.pidfd_socket, plan.config.annotations.get(PIDFD_RECEIVER)):
        if receiver:
            sockets.send_pidfd(receiver, pid)
    if plan.request.pid_file:
        sockets.write_pid_file(plan.request.pid_file, pid)


def read_program() -> None:
    """Read all modules that may still be imported: from now on the program's file may be overwritten."""
    for finder in sys.meta_path:
        if hasattr(finder, "read_rest"):  # pack/loader.py
            finder.read_rest()


class Child:
    """The init, with its current pid."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def replaced_by(self, pid: int) -> None:
        """Collect the old process if the init goes on as another one, with the pid `pid`."""
        if pid != self.pid:
            os.waitpid(self.pid, 0)
            self.pid = pid

    def kill(self) -> None:
        """Kill and collect the init; does nothing if it was collected already."""
        try:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass


def run_hooks(plan: Plan, container: Container, undo: Undo, output: "list[int]") -> None:
    """Run the hooks before pivot_root, with the streams `output` of hooks.open_output().

    From here on `undo` runs the poststop hooks (runtime.md#lifecycle).
    """
    from pyrun.container import hooks  # few containers have some

    undo.add(lambda: hooks.run_leniently("poststop", plan.config.hooks["poststop"], container.oci_state("stopped")))
    for kind in ("prestart", "createRuntime"):
        hooks.run(kind, plan.config.hooks[kind], container.oci_state("creating"), output=output)


def _run_in_container(plan: Plan, container: Container, inherited: Inherited, root: Root, umask: int) -> None:
    """Run the createContainer hooks in the container's root, with the process's environment and `umask`, as runc does.

    Must run in the init, before pivot_root.
    """
    wanted = plan.config.hooks["createContainer"]
    if not wanted:
        return

    from pyrun.container import hooks  # few containers have some

    def spawn(hook: "Hook", streams: "list[int]") -> int:
        return hooks.spawn(hook, streams, plan.process.env)

    os.umask(umask)
    os.fchdir(root.tree.fd)
    hooks.run("createContainer", wanted, container.oci_state("creating"), spawn, inherited.hook_output)
    os.umask(0)


def _init(plan: Plan, container: Container, inherited: Inherited, channel: Channel, gate_: int, into: int) -> None:
    """Turn this process into the container's first process. Never returns."""
    os.setsid()  # first, because ^C in the caller's terminal must not end a half-made init
    # Processes in a joined namespace must not look into this one while it holds descriptors of the host
    # (CVE-2016-9962). Before entering a user namespace, because its root may look into every process in it.
    if plan.namespaces.joins(CLONE_NEWUSER):
        prctl(PR_SET_DUMPABLE, 0)
    if plan.namespaces.need_runtime:
        plan.namespaces.enter(channel)
        channel.hear("go")
    if plan.config.linux.namespace("user"):
        namespaces.become_root()  # after "go", when the ids are mapped; before the mounts, because root makes them
    if plan.config.linux.makes("network"):
        namespaces.bring_up_loopback()
    if plan.namespaces.joined:
        prctl(PR_SET_DUMPABLE, 0)  # again after become_root(): a change of ids resets it to fs.suid_dumpable, prctl(2)

    umask = os.umask(0)  # files get the modes of the config
    root = Root(plan.root, inherited.host)
    root.begin()
    joins = channel.hear("cgroups").descriptors
    if not plan.namespaces.entered_by_child:
        # The stub joins memory's cgroup v1, because from then on the process's memory is charged to it, and Python
        # needs 8 MB.
        while len(joins) > plan.cgroup.memory_joins:
            write_value(joins.pop(0), b"0")
    root.complete(plan.cgroup.paths)
    terminal = root.open_terminal(plan.process)  # after the mounts, because it is made in the container's devpts
    if plan.connects_interfaces:
        channel.hear("connected")  # before the sysctl, which may be of an interface
    if plan.pauses_before_pivot:
        channel.say("mounted", terminal[:1])
        channel.hear("hooks ran")
        container.pid = int(os.readlink("/proc/self"))  # the pid on the host: /proc is still the host's
        _run_in_container(plan, container, inherited, root, umask)

    # Before pivot_root, because these steps use the host's /proc.
    identify(plan.config)
    root.finish()
    denies_groups, foreign, files = namespaces.denies_groups("self"), look_up.runs_foreign(), ImageFiles()
    plan.confinement.open(plan.config.linux.namespace("user") is not None)
    reset_signals()
    seal_imports()  # last, because an import after pivot_root would run the container's code
    root.enter(plan.request.pivot)

    user = plan.process.user
    if not plan.confinement.keeps_groups and privileges.replaces_groups(user, denies_groups):
        privileges.set_groups(user)  # before the program is looked up, which happens with the user's permissions
    found = look_up.find(plan.process, foreign, files, plan.request.preserved.environment)
    os.umask(umask if user.umask is None else user.umask)
    late = plan.namespaces
    entry = Entry(late.entered_by_child, into, joins, late.makes_cgroup, late.cgroup_namespace)
    _execute_stub(plan, found, entry, terminal[1:] * 3 or plan.streams, channel.fileno(), gate_, inherited)


def _execute_stub(
    plan: Plan,
    found: Program,
    entry: Entry,
    streams: "list[int]",
    report: int,
    gate_: int,
    inherited: Inherited,
) -> None:
    """Become the stub. Never returns."""
    found.reaper = inherited.reaper
    table = Table(report, [0, 1, 2, *plan.request.preserved.numbers])
    for fd in (gate_, inherited.reaper, *plan.confinement.descriptors(), *entry.descriptors()):
        table.inherit(fd)
    init_rows.create(table, gate_, entry, plan.process, found, plan.confinement, plan.request.keyring, streams)
    carrier.carry_out(inherited.memfd, table, streams=streams)
