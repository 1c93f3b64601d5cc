"""How a container comes to life.

      runtime                                 init
      (host namespaces)                       (becomes the container)

      make the cgroup v2
      clone ────────────────────────────────▶ join and unshare namespaces
                             ◀── "entered"
      map user and group ids
                               "go" ──▶
      make the cgroups v1, limits             mounts
                          "cgroups" ──▶       (with the descriptors for joining them)
                                              join, mounts, devices, terminal
                            ◀── "mounted"     (with the terminal's master)
      prestart, createRuntime hooks
                         "hooks ran" ──▶
                                              createContainer hooks
                                              sysctl, masks, pivot_root
                                              look up the program
                                              execute the last mile: Python ends here
                                              memory cgroup, limits, ids, capabilities
                              ◀── "ready"
      memory limit on cgroup v2
      save the state, exit                    wait at the gate for `start`, execve

Each side only ever waits for the next word of this table, so reading _runtime() and _init() side by side, from top to
bottom, is reading the order in which things happen. A side that fails says so and the other raises it.

The runtime learns the init's pid from the kernel with each word, since it can change twice: where namespaces must be
entered in steps (Namespaces.in_steps), and where only a child is in them, which the last mile then makes
(Namespaces.entered_by_child).
"""

import os
import time
from _signal import SIG_BLOCK, SIG_SETMASK, SIGINT, SIGTERM, pthread_sigmask

from pyrun import log
from pyrun.confine import oom
from pyrun.confine.identity import identify
from pyrun.container import hooks, state
from pyrun.container.state import Container
from pyrun.errors import Error, reason
from pyrun.launch import descriptors, gate, last_mile, namespaces, process, program, sockets
from pyrun.launch.channel import Channel
from pyrun.launch.departure import reset_signals, seal_imports
from pyrun.launch.last_mile import Entry
from pyrun.launch.plan import Plan, Request
from pyrun.launch.undo import Undo
from pyrun.linux.prctl import PR_SET_DUMPABLE, prctl
from pyrun.linux.sched import CLONE_NEWPID, CLONE_NEWUSER
from pyrun.spec.config import Config


def create(request: Request) -> "tuple[Container, int]":
    """Create the container of the bundle in the working directory; return it, waiting at its gate, and the master end
    of its terminal, -1 where there is none for us to attend to.

    Raises Error or OSError; then nothing is left of the container.
    """
    memfd = last_mile.prepare()
    plan = Plan(request)
    if request.init:
        from pyrun.launch import init  # few containers have one

        plan.init = init.prepare()
    with Undo() as undo:
        container = state.new(request.root, request.id)
        undo.by(container.remove)
        describe(container, plan)
        container.save()
        container.keep_config(plan.data)
        if os.environ.get("NOTIFY_SOCKET"):
            from pyrun.launch.notify import offer  # few callers are services that tell when they are ready

            offer(container, plan.root, plan.process)
        undo.by(plan.cgroup.remove)
        if plan.class_of_service:
            undo.by(plan.class_of_service.remove)
        if plan.root.overlay:
            _check_overlay(container)
            undo.by(plan.root.overlay.undo)
            plan.root.overlay.make()
        _runtime(plan, container, memfd, undo)
        undo.keep()
    for warning in plan.warnings:
        log.warning(warning)
    return container, plan.console.master


def describe(container: Container, plan: Plan) -> None:
    config: Config = plan.config
    container.bundle = plan.bundle
    container.rootfs = plan.root.path
    container.overlay = plan.request.overlay or ""
    container.created = state.timestamp(time.time_ns())
    own = state.process_stat(os.getpid())
    container.creator = (os.getpid(), own[2] if own else 0)
    if plan.request.monitor:
        from pyrun.container.exit import make

        container.monitor = container.creator
        make(container)
    container.shares_pids = not config.linux.makes("pid")
    filter_ = plan.confinement.filter
    if filter_ and filter_.notify:
        container.listener = (os.path.abspath(filter_.listener_path), filter_.listener_metadata)
    container.annotations = config.annotations
    container.cgroup_paths = plan.cgroup.paths
    container.intel_rdt = plan.class_of_service.paths() if plan.class_of_service else {}
    container.unit = plan.cgroup.unit
    kinds = ("startContainer", "poststart", "poststop")
    container.hooks = {kind: [hook.json.properties for hook in config.hooks[kind]] for kind in kinds}


def _check_overlay(container: Container) -> None:
    """Refuse a layer that another container writes to: the kernel would let both, and promise nothing.

    The container is saved by now, so of two that are made at once at least one sees the other.
    """
    for other in state.load_all(os.path.dirname(container.directory)) if container.overlay else ():
        if other.overlay == container.overlay and other.id != container.id and other.status() != "stopped":
            raise Error(f"--overlay={container.overlay}: in use by the container {other.id}")


def _runtime(plan: Plan, container: Container, memfd: int, undo: Undo) -> None:
    """Make the init of `container` and see it through to its gate."""
    plan.cgroup.create_v2(plan.cgroup_is_optional)
    log.debug(f"create {container.id} of {plan.bundle}, cgroups {' '.join(plan.cgroup.directories)}")
    listener = gate.listen(container)
    os.chdir(plan.bundle)
    ours, theirs = Channel.pair()
    late_birth = plan.namespaces.entered_by_child
    by_file = late_birth and plan.config.linux.namespace("user") is not None
    into = -1 if by_file else plan.cgroup.open_v2()
    if late_birth:
        into = last_mile.detach(into)
    _open_for_init(plan)
    # A child that is interrupted before it knows that it is one would undo what is the runtime's. It resets its mask
    # when it has a session of its own, where ^C does not come; SIGTERM interrupts who becomes a monitor.
    mask = pthread_sigmask(SIG_BLOCK, [SIGINT, SIGTERM])
    child = Child(plan.namespaces.start(-1 if late_birth else into))
    if child.pid == 0:
        ours.close()
        _run_as_child(plan, container, theirs, listener.fileno(), memfd, into)
    undo.by(child.kill)
    pthread_sigmask(SIG_SETMASK, mask)
    theirs.close()

    child.is_now(ours.hear("entered").pid)
    linux = plan.config.linux
    if linux.makes("user"):
        namespaces.map_ids(child.pid, linux.uid_mappings, linux.gid_mappings)
    if plan.process.oom_score_adj is not None:
        oom.adjust_score(child.pid, plan.process.oom_score_adj)
    if linux.net_devices:
        from pyrun.launch import net_devices  # few containers have some

        net_devices.move(linux.net_devices, child.pid)
    container.pid = child.pid
    ours.say("go")

    plan.cgroup.create_v1(plan.cgroup_is_optional)
    plan.cgroup.adopt(child.pid, linux.resources)
    plan.cgroup.apply(linux.resources, memory=False)
    plan.give_cgroup_away()
    joins = plan.cgroup.open_files(v2=by_file)
    if plan.class_of_service:
        plan.class_of_service.create()
        joins = plan.class_of_service.open_files() + joins
    ours.say("cgroups", joins)

    if plan.needs_meeting:
        heard = ours.hear("mounted")
        run_hooks(plan, container, undo)
        plan.console.take(heard.descriptors)
        ours.say("hooks ran")

    child.is_now(ours.hear("ready").pid)
    plan.cgroup.limit_memory(linux.resources)
    log.debug(f"init {child.pid} of {container.id} waits to be started")
    container.is_created(child.pid)
    if plan.request.pidfd_socket:
        sockets.send_pidfd(plan.request.pidfd_socket, child.pid)
    if plan.request.pid_file:
        sockets.write_pid_file(plan.request.pid_file, child.pid)


def _open_for_init(plan: Plan) -> None:
    """Open what the init could not: it is in other namespaces, and may be allowed less."""
    if plan.namespaces.joins(CLONE_NEWPID):
        from pyrun.launch.procfs import open_context  # few containers do

        for mount in plan.root.procfs:
            mount.context = open_context(plan.namespaces)
    if plan.root.mapped:
        from pyrun.launch.idmap import open_mapped  # few containers do

        for mount in plan.root.mapped:
            mount.opened = open_mapped(mount, plan.config.linux)
    plan.hook_output = hooks.open_output(plan.config.annotations, plan.bundle)


class Child:
    """The init, under the pid that it has at the moment."""

    def __init__(self, pid: int) -> None:
        self.pid = pid

    def is_now(self, pid: int) -> None:
        """Take note that another process has gone on where the last one ended, and collect that."""
        if pid != self.pid:
            os.waitpid(self.pid, 0)
            self.pid = pid

    def kill(self) -> None:
        try:
            os.kill(self.pid, 9)
            os.waitpid(self.pid, 0)
        except (ProcessLookupError, ChildProcessError):
            pass  # it has ended, and was collected


def run_hooks(plan: Plan, container: Container, undo: Undo) -> None:
    """The hooks before pivot_root. When one fails, the lifecycle goes on with poststop (runtime.md#lifecycle)."""
    undo.by(lambda: hooks.run_leniently("poststop", plan.config.hooks["poststop"], container.oci_state("stopped")))
    for kind in ("prestart", "createRuntime"):
        hooks.run(kind, plan.config.hooks[kind], container.oci_state("creating"), output=plan.hook_output)


def _run_as_child(plan: Plan, container: Container, channel: Channel, gate_: int, memfd: int, into: int) -> None:
    """Run _init() in the forked child: report what it raises, and never return to the parent's code."""
    try:
        _init(plan, container, channel, gate_, memfd, into)
    except BaseException as error:
        channel.fail(reason(error))
    finally:
        os._exit(1)


def _init(plan: Plan, container: Container, channel: Channel, gate_: int, memfd: int, into: int) -> None:
    """Turn this process into the container's first process. Never returns."""
    os.setsid()  # so that what the caller's terminal signals, like ^C, does not end it half made
    # Nobody in what is joined may look into this process while it holds descriptors of the host (CVE-2016-9962).
    if plan.namespaces.joins(CLONE_NEWUSER):
        prctl(PR_SET_DUMPABLE, 0)  # at once: root in there may look into all processes that are in it, too
    plan.namespaces.enter(channel)
    channel.hear("go")
    if plan.config.linux.namespace("user"):
        namespaces.become_root()
    if plan.config.linux.makes("network"):
        namespaces.bring_up_loopback()
    if plan.namespaces.joined:
        prctl(PR_SET_DUMPABLE, 0)

    umask = os.umask(0)
    plan.root.begin()
    joins = channel.hear("cgroups").descriptors
    if plan.cgroup_is_optional:
        plan.cgroup.forget_missing()  # as the runtime has done, in its own memory
    if not plan.namespaces.entered_by_child:
        # All but memory, which comes with the last mile: whoever joins is charged for what it has, and Python has 8 MB.
        while len(joins) > plan.cgroup.memory_joins:
            os.write(joins.pop(0), b"0")
    plan.root.complete(plan.cgroup.paths)
    terminal = plan.root.open_terminal(plan.process)
    if plan.needs_meeting:
        channel.say("mounted", terminal[:1])
        channel.hear("hooks ran")
        container.pid = int(os.readlink("/proc/self"))  # the host's /proc, so as the host sees it
        wanted = plan.config.hooks["createContainer"]
        hooks.run("createContainer", wanted, container.oci_state("creating"), output=plan.hook_output)

    identify(plan.config)
    plan.root.finish()
    host = program.Host("self")
    plan.confinement.open(plan.config.linux.namespace("user") is not None)
    reset_signals()
    seal_imports()
    plan.root.enter(plan.request.pivot)

    plan.confinement.enter()
    if not plan.confinement.keeps_groups:
        process.set_groups(plan.process.user, host.denies_groups)
    found = program.find(plan.process, host, plan.request.preserved.environment)
    os.umask(umask if plan.process.user.umask is None else plan.process.user.umask)
    late = plan.namespaces
    entry = Entry(late.entered_by_child, into, joins, late.makes_cgroup, late.cgroup)
    needed = [channel.fileno(), gate_, *plan.confinement.descriptors(), *entry.descriptors()]
    if plan.init >= 0:
        needed.append(plan.init)
    streams = terminal[1:] * 3 or plan.streams
    memfd, numbers = descriptors.place(plan.request.preserved, streams, needed, memfd, plan.process.user.uid)
    if plan.init >= 0:
        found.init = numbers.pop()
    keyring = plan.request.id if plan.request.keyring else None
    report, gate_, *rest = numbers
    entry = entry.at(plan.confinement.move(rest))
    table = last_mile.create(report, gate_, entry, plan.process, found, plan.confinement, keyring)
    last_mile.carry_out(memfd, table)
