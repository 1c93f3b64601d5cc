"""How a container comes back from an image.

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

criu stays outside of the container's cgroup, whose memory may be less than its own, and puts each process into it. What
it does not know of, and a process inherits, it is given itself: a class of service, a core scheduling cookie, a memory
policy, an I/O priority.
"""

import os
from _signal import SIGKILL

from pyrun import log
from pyrun.checkpoint import external, rpc
from pyrun.checkpoint.criu import Criu
from pyrun.checkpoint.mount_points import make_mount_points
from pyrun.checkpoint.options import Images, from_config, leaves_cgroups_alone, wants_no_cgroups
from pyrun.checkpoint.placeholder import Placeholder, join
from pyrun.confine.affinity import ALL_CPUS
from pyrun.container import state
from pyrun.container.state import NOTIFY, RESTORED_ROOT, Container
from pyrun.errors import ConfigError, UsageError
from pyrun.launch import sockets
from pyrun.launch.create import describe, run_hooks
from pyrun.launch.plan import Plan, Request
from pyrun.launch.undo import Undo
from pyrun.linux.libc import addressof, buffer, raw_syscall
from pyrun.linux.mount import MS_BIND, MS_REC, MS_SLAVE, mount
from pyrun.linux.prctl import PR_SET_PDEATHSIG, prctl
from pyrun.linux.sched import CLONE_NEWNS, unshare
from pyrun.linux.syscalls import number
from pyrun.spec.config import LANDLOCK

# Calls of the last mile for what children inherit and criu does not restore; all else that it makes, criu does.
_INHERITED = ("ioprio_set", "set_mempolicy", "prctl")


def restore(request: Request, images: Images, program: str, wanted: "dict[str, rpc.Value]") -> "tuple[Container, int]":
    """Restore the container of `images` with the bundle in the working directory; return it, running, and the master
    end of its terminal, -1 where there is none for us to attend to.

    Raises Error or OSError; then nothing is left of the container.
    """
    plan = Plan(request)
    _refuse(plan, wanted)
    with Undo() as undo:
        images.remember()
        undo.by(images.forget)
        container = state.new(request.root, request.id)
        undo.by(container.remove)
        describe(container, plan)
        container.save()
        container.keep_config(plan.data)
        os.mkdir(f"{container.directory}/{NOTIFY}")
        undo.by(plan.cgroup.remove)
        if plan.class_of_service:
            undo.by(plan.class_of_service.remove)
        _restore(plan, container, images, program, wanted, undo)
        undo.keep()
    for warning in plan.warnings:
        log.warning(warning)
    return container, plan.console.master


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
) -> None:
    linux = plan.config.linux
    plan.cgroup.create_v2()
    plan.cgroup.create_v1()
    undo.by(plan.cgroup.kill)
    place = Placeholder(plan.cgroup, linux.resources)
    undo.by(place.leave)
    plan.cgroup.apply(linux.resources)
    if plan.class_of_service:
        plan.class_of_service.create()
    plan.give_cgroup_away()
    make_mount_points(plan)

    inherited, namespaces, joined = external.namespaces_to_take(linux)
    streams, files = external.Streams.load(images.path).to_take()
    root = f"{container.directory}/{RESTORED_ROOT}"
    options: dict[str, rpc.Value] = {
        **wanted,
        **from_config(plan.config),
        "root": root,
        "rst_sibling": True,
        "evasive_devices": True,
        "external": list(external.mounts_to_take(plan.config, container)),
        "inherit_fd": [*inherited, *streams],
        "join_ns": joined,
        "cg_root": place.roots(),
    }

    def notified(stage: str, pid: int, descriptors: "list[int]") -> None:
        if stage == "setup-namespaces":
            container.pid = pid
            run_hooks(plan, container, undo)
        elif stage == "post-setup-namespaces":
            place.leave()
        elif stage == "orphan-pts-master":
            plan.console.take(descriptors)
        elif stage == "post-restore":
            container.is_created(pid)
            if plan.request.pid_file:
                sockets.write_pid_file(plan.request.pid_file, pid)

    os.mkdir(root)
    shut = images.let_in(linux.host_gid(0)) if linux.namespace("user") else None
    shell_job = bool(wanted.get("shell_job"))  # then it is our session that the container's processes come to be in
    opened = namespaces + files
    try:
        with Criu(program, images, opened, lambda: _prepare(plan, container.rootfs, root, not shell_job)) as criu:
            criu.check_version()
            if leaves_cgroups_alone(wanted):
                join(plan.cgroup, criu.pid)  # what criu then makes stays where it is
            criu.carry_out(rpc.RESTORE, options, notified)
    finally:
        os.rmdir(root)
        if shut:
            shut()
        for fd in opened:
            os.close(fd)


def _prepare(plan: Plan, rootfs: str, root: str, own_session: bool) -> None:
    """Run in the process that becomes criu."""
    prctl(PR_SET_PDEATHSIG, SIGKILL)  # who is to be told of the end of this must be there
    if own_session:
        os.setsid()
    for file in plan.class_of_service.open_files() if plan.class_of_service else []:
        os.write(file, b"0")
    cpus = buffer(ALL_CPUS)  # criu leaves the CPUs as they are, and these are our caller's
    raw_syscall(number("sched_setaffinity"), [0, len(ALL_CPUS), addressof(cpus), 0, 0, 0])
    for name, arguments, label in plan.confinement.calls:
        if name in _INHERITED:
            _call(name, arguments, label)
    unshare(CLONE_NEWNS)
    mount(None, b"/", None, MS_SLAVE | MS_REC)
    # criu wants a mount point, below one that nothing is mounted over.
    mount(os.fsencode(rootfs), os.fsencode(root), None, MS_BIND | MS_REC)


def _call(name: str, arguments: "tuple[int | bytes, ...]", label: str) -> None:
    blocks = [buffer(value) if isinstance(value, bytes) else value for value in arguments]
    words = [block if isinstance(block, int) else addressof(block) for block in blocks]
    _, errno = raw_syscall(number(name), words + [0] * (6 - len(words)))
    if errno:
        raise OSError(errno, os.strerror(errno), label)
