"""Restore: criu makes the processes of a container from an image.

      runtime                                   criu                              the container's processes
      make the cgroups, limits
      make mount points in the root
      fork ───────────────────────────────────▶ a mount namespace of its own, with the root in it
                            request ──▶         make the init, a sibling of criu ─▶ namespaces
                     ◀── "setup-namespaces"
      prestart, createRuntime hooks
                             go on ──▶                                             mounts
                     ◀── "orphan-pts-master"    (with the terminal's master)
                             go on ──▶                                             files, memory, threads
                     ◀── "post-restore"
      save the state, write the pid file
                             go on ──▶          let them go ──────────────────────▶ go on where they were

criu stays outside of the container's cgroup, whose memory limit may be too small for criu, and puts each process into
it. It does not restore some properties that children inherit, so it gets them itself before it starts: a class of
service, a core scheduling cookie, a memory policy, an I/O priority.
"""

from _signal import SIGKILL

from foundation.linux import os
from foundation.linux.cpu_list import ALL_CPUS
from foundation.linux.libc import addressof, buffer, raw_syscall
from foundation.linux.mount import MS_BIND, MS_REC, MS_SLAVE, mount
from foundation.linux.opened import opened
from foundation.linux.prctl import end_with
from foundation.linux.sched import CLONE_NEWNET, CLONE_NEWNS, setns, unshare
from foundation.linux.syscalls import number
from foundation.linux.whole_file import write_value
from pyrun import log
from pyrun.cgroup.join import move
from pyrun.checkpoint import external, rpc
from pyrun.checkpoint.criu import Criu
from pyrun.checkpoint.mount_points import make_mount_points
from pyrun.checkpoint.options import Images, from_config, leaves_cgroups_alone, wants_no_cgroups
from pyrun.checkpoint.placeholder import Placeholder
from pyrun.config.document import LANDLOCK
from pyrun.config.sysctl import namespace_of, path_of
from pyrun.container.end import end_session
from pyrun.container.process import process_stat
from pyrun.container.state import NOTIFY, RESTORED_ROOT, Container
from pyrun.errors import ConfigError, UsageError
from pyrun.launch.create import begin, run_hooks
from pyrun.launch.plan import Plan, Request
from pyrun.launch.undo import Undo
from pyrun.namespaces.names import set_parameter
from pyrun.namespaces.namespaces import bring_up_loopback
from pyrun.stdio import sockets
from pyrun.stub.channel import Channel
from pyrun.stub.child import Child

# Calls of the stub whose effect children inherit, and which criu does not restore. criu restores all others.
_INHERITED = ("ioprio_set", "set_mempolicy", "prctl")


def restore(
    request: Request, images: Images, program: str, wanted: "dict[str, rpc.Value]", undo: Undo
) -> "tuple[Container, int]":
    """Restore the container of `images` with the bundle of the request. Return it, running, and the master end of its
    terminal, or -1 if we do not have to attend to one.

    Raises Error or OSError; then the steps in `undo` remove everything of the container.
    """
    plan = Plan(request)
    _refuse(plan, wanted)
    images.remember()
    undo.add(images.forget)
    container = begin(plan, undo)
    os.mkdir(f"{container.directory}/{NOTIFY}")
    terminal = _restore(plan, container, images, program, wanted, undo)
    for warning in plan.warnings:
        log.warning(warning)
    return container, terminal


def _refuse(plan: Plan, wanted: "dict[str, rpc.Value]") -> None:
    if wants_no_cgroups(wanted):
        raise UsageError(
            "--manage-cgroups-mode strict: criu would make the cgroups, which config.json has made already"
        )
    if not plan.request.pivot:
        raise UsageError("--no-pivot: criu enters the root file system by pivot_root alone")
    if LANDLOCK in plan.config.annotations:
        raise ConfigError(f"config.json: annotations[{LANDLOCK!r}]: criu does not restore what Landlock restricts")
    for index, planned in enumerate(plan.root.mounts):
        if planned.is_mapped:
            raise ConfigError(f"config.json: mounts[{index}]: criu does not restore mounts with other ids (idmap)")
    for namespace in plan.config.linux.namespaces:
        if namespace.path and namespace.type in ("cgroup", "mount"):
            raise ConfigError(f"config.json: linux.namespaces: criu cannot join a {namespace.type} namespace")


def _restore(
    plan: Plan, container: Container, images: Images, program: str, wanted: "dict[str, rpc.Value]", undo: Undo
) -> int:
    """Make what criu does not, and let it restore the container. Returns the terminal as Console.take() does."""
    linux = plan.config.linux
    terminal = -1
    place = _make_cgroups(plan, undo)
    make_mount_points(plan)

    inherited, namespaces, joined = external.namespaces_to_take(linux)
    streams, files = external.Streams.load(images.path).to_take(plan.streams or [0, 1, 2])
    root = f"{container.directory}/{RESTORED_ROOT}"
    options: dict[str, rpc.Value] = {
        **wanted,
        **_options(plan, container, root),
        "inherit_fd": [*inherited, *streams],
        "join_ns": joined,
        "cg_root": place.roots(),
    }

    def notified(stage: str, pid: int, descriptors: "list[int]") -> None:
        nonlocal terminal
        if stage == "setup-namespaces":
            container.pid = pid
            _set_up_networks(plan, pid, is_empty=bool(options.get("empty_ns")))
            run_hooks(plan, container, undo, output=[])
        elif stage == "post-setup-namespaces":
            place.leave()
        elif stage == "orphan-pts-master":
            terminal = plan.console.take(descriptors)
        elif stage == "post-restore":
            container.record_created(pid)
            if plan.request.pid_file:
                sockets.write_pid_file(plan.request.pid_file, pid)

    os.mkdir(root)
    shut = images.let_in(linux.host_gid(0)) if linux.namespace("user") else None
    shell_job = bool(wanted.get("shell_job"))  # then criu puts the container's processes into our session
    opened = namespaces + files
    runtime = os.getpid()
    try:
        with Criu(
            program, images, opened, lambda: _prepare(runtime, plan, container.rootfs, root, own_session=not shell_job)
        ) as criu:
            if not shell_job:
                _remember(criu, container, undo)
            criu.check_version()
            if leaves_cgroups_alone(wanted):
                move(plan.cgroup, criu.pid)  # criu's children then stay in its cgroup
            criu.carry_out(rpc.RESTORE, options, notified)
        # Not before: if `delete` ends the init meanwhile, criu may wait for it for ever.
        container.criu = (0, 0)
        container.save()
    finally:
        os.rmdir(root)
        if shut:
            shut()
        for fd in opened:
            os.close(fd)
    return terminal


def _remember(criu: Criu, container: Container, undo: Undo) -> None:
    """If we are killed, `delete` finds what criu has made by its session."""
    stat = process_stat(criu.pid)
    container.criu = (criu.pid, stat[2] if stat else 0)
    container.save()
    undo.add(lambda: end_session(*container.criu))


def _set_up_networks(plan: Plan, pid: int, is_empty: bool) -> None:
    if is_empty:
        _begin_network(plan, pid)
    if plan.request.connect:
        plan.request.connect(pid)


def _begin_network(plan: Plan, pid: int) -> None:
    """Give the network namespace of the process `pid`, which criu leaves empty, what `create` gives a new one."""

    def begin_there(channel: Channel) -> None:
        with opened(os.open(f"/proc/{pid}/ns/net", os.O_RDONLY | os.O_CLOEXEC)) as namespace:
            setns(namespace, CLONE_NEWNET)
        bring_up_loopback()
        for name, value in plan.config.linux.sysctl.items():
            if namespace_of(path_of(name)) == "network":
                set_parameter(name, value)
        channel.say("begun")

    with Child(begin_there) as channel:
        channel.hear("begun")


def _options(plan: Plan, container: Container, root: str) -> "dict[str, rpc.Value]":
    """Return what criu is told of the plan; `root` is where it finds the root file system."""
    return {
        **from_config(plan.config),
        "root": root,
        "rst_sibling": True,
        "evasive_devices": True,
        "external": list(external.mounts_to_take(plan.config, container)),
    }


def _make_cgroups(plan: Plan, undo: Undo) -> Placeholder:
    """Make the cgroups with their limits, and the process that waits in them for the first one of the container."""
    plan.cgroup.create_v2()
    plan.cgroup.create_v1()
    undo.add(plan.cgroup.kill)
    place = Placeholder()
    undo.add(place.leave)
    place.enter(plan.cgroup, plan.config.linux.resources)
    plan.cgroup.apply(plan.config.linux.resources)
    if plan.class_of_service:
        plan.class_of_service.create()
    plan.give_cgroup_away()
    return place


def _prepare(runtime: int, plan: Plan, rootfs: str, root: str, own_session: bool) -> None:
    """Prepare the process that becomes criu, a child of `runtime`."""
    end_with(runtime, SIGKILL)  # die with the runtime: nobody else would collect criu's status
    if own_session:
        os.setsid()
    for file in plan.class_of_service.open_files() if plan.class_of_service else []:
        write_value(file, b"0")
    cpus = buffer(ALL_CPUS)  # otherwise the container would inherit our caller's affinity: criu does not set it
    raw_syscall(number("sched_setaffinity"), [0, len(ALL_CPUS), addressof(cpus), 0, 0, 0])
    for name, arguments, label in plan.confinement.calls:
        if name in _INHERITED:
            _call(name, arguments, label)
    unshare(CLONE_NEWNS)
    mount(None, b"/", None, MS_SLAVE | MS_REC)
    # criu requires the root to be a mount point whose parent mount is not covered.
    mount(os.fsencode(rootfs), os.fsencode(root), None, MS_BIND | MS_REC)


def _call(name: str, arguments: "tuple[int | bytes, ...]", label: str) -> None:
    blocks = [buffer(value) if isinstance(value, bytes) else value for value in arguments]
    words = [block if isinstance(block, int) else addressof(block) for block in blocks]
    _, errno = raw_syscall(number(name), words + [0] * (6 - len(words)))
    if errno:
        raise OSError(errno, os.strerror(errno), label)
