"""The execution of a new process in an existing container: `exec`, and the startContainer hooks.

      runtime                                 stub
      (host namespaces)                       (host's pid namespace and cgroups)

      open the init's pidfd, root, cgroups
      make the terminal, compile the rows
      spawn ────────────────────────────────▶ become undumpable
                                              join all namespaces (the pid namespace: for its children)
                                              groups, working directory
                                              clone ───────────▶ process in the container
                                              exit               (a child of the runtime)
                             ◀── "born" ────────────────────────
      wait for the end of the channel                            cgroups, limits, ids, capabilities
                                                                 execve closes it

From "born" on the runtime knows the pid. If anything fails or is interrupted after that, the runtime kills the process
and collects it: the init of a pid namespace cannot end before all its processes are collected (pid_namespaces(7)).

No interpreter enters any namespace of the container. Python opens what it needs from outside, below the descriptor of
the container's root, and only the stub, a program of a few hundred bytes, goes in.

Rejected: a fork of Python that enters the namespaces. It takes a quarter of the time of `exec`, and what it does in the
container must not import, look up a user or follow a path of the host.
"""

from _signal import SIGKILL, pidfd_send_signal
from errno import EACCES

from foundation import interrupts
from foundation.errors import Error
from foundation.linux import os, whole_file
from foundation.linux.opened import Descriptors, opened
from foundation.linux.prctl import filesystem_ids
from foundation.linux.sched import CLONE_NEWCGROUP, CLONE_NEWUSER
from pyrun.cgroup import join
from pyrun.config.document import Config, Process, load_config
from pyrun.config.node import Node
from pyrun.confine import oom
from pyrun.container.process import ended_before_execve, process_name
from pyrun.container.state import Container
from pyrun.launch import program
from pyrun.launch.image_files import ImageFiles
from pyrun.namespaces import namespaces
from pyrun.rootfs import console
from pyrun.rootfs.tree import Tree
from pyrun.stdio import descriptors
from pyrun.stub import carrier, exec_rows, privileges
from pyrun.stub.channel import Channel, Ended
from pyrun.stub.entry import Entry, detach
from pyrun.stub.exec_rows import Inside
from pyrun.stub.table import Table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pyrun.cgroup.group import Cgroup
    from pyrun.config.document import Hook


class Target:
    """The container to enter, as descriptors of its init: another process may have the init's pid by the time of use.

    A `with` block closes them. Raises Error if the container has stopped.

    tree     its root file system
    owner    (uid, gid) of its root in our user namespace
    """

    def __init__(self, container: Container, cgroup: "Cgroup") -> None:
        self._descriptors = Descriptors()
        try:
            self._open(container, cgroup)
        except BaseException as error:
            self._descriptors.close()
            gone = isinstance(error, (FileNotFoundError, ProcessLookupError))
            if gone and not process_name(container.pid, container.start_time):
                raise Error("cannot exec in a stopped container") from None  # it has just ended
            raise

    def _open(self, container: Container, cgroup: "Cgroup") -> None:
        keep = self._descriptors.add
        pidfd = keep(os.pidfd_open(container.pid))
        if not process_name(container.pid, container.start_time):
            raise ProcessLookupError
        proc = f"/proc/{container.pid}"
        root_ = keep(os.open(f"{proc}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        types = _differing_namespaces(proc)
        # In another user namespace, the process may not clone into the cgroup: it joins by files that are opened here.
        by_file = container.reuses_cgroup or bool(types & CLONE_NEWUSER)
        into = -1 if by_file else detach(join.directory(cgroup))
        if into >= 0:
            keep(into)
        namespace = -1
        if types & CLONE_NEWCGROUP and not by_file:
            # The stub joins it after the clone: from inside one cannot clone into a cgroup outside (nsdelegate).
            namespace = keep(os.open(f"{proc}/ns/cgroup", os.O_RDONLY | os.O_CLOEXEC))
            types ^= CLONE_NEWCGROUP
        # Without root, a process may move only within a delegated subtree (cgroups(7)), and we need not be in the
        # container's. As with runc, the process is then in the container, but not in its cgroup.
        excused = (EACCES,) if os.geteuid() != 0 else ()
        joins = [keep(fd) for fd in _rdt_files(container)]
        joins += [keep(fd) for fd in join.open_files(cgroup, v2=by_file)]
        self.inside = Inside(pidfd, types, root_, namespaces.denies_groups(container.pid))
        self.entry = Entry(True, into, joins, False, namespace, excused)
        self.tree = Tree(root_)
        self._init = container.pid
        self.owner = self.outside(0, 0)
        # Last: it fails if the init has ended, because what was opened above by its pid may be another process's then.
        pidfd_send_signal(pidfd, 0)

    def outside(self, uid: int, gid: int) -> "tuple[int, int]":
        """Return `uid` and `gid` of the container as they are in our user namespace."""
        if not self.inside.in_user_namespace:
            return uid, gid
        from pyrun.namespaces.id_maps import outside  # few containers have a user namespace

        return outside(self._init, uid, gid)

    def __enter__(self) -> "Target":
        return self

    def __exit__(self, kind: object, error: object, traceback: "TracebackType | None") -> None:
        self._descriptors.close()


def _rdt_files(container: Container) -> "list[int]":
    if not container.intel_rdt:
        return []
    from pyrun.confine.intel_rdt import of_state  # few containers have some

    return of_state(container.intel_rdt).open_files()


def _differing_namespaces(proc: str) -> int:
    """Return CLONE_NEW* of the namespaces that differ from ours. setns(2) refuses one's own user namespace."""
    types = 0
    for type_, flag in namespaces.FLAGS.items():
        name = namespaces.PROC_NAMES.get(type_, type_)
        try:
            if os.stat(f"{proc}/ns/{name}").st_ino != os.stat(f"/proc/self/ns/{name}").st_ino:
                types |= flag
        except FileNotFoundError:
            pass  # the kernel lacks this type
    return types


class NewProcess:
    """A process to execute in a container.

    container    the container; the agent of a seccomp filter receives its `status`
    preserved    the descriptors of our caller that the process keeps
    streams      descriptors for its standard streams, or [] for ours
    hook         the hook of the container that is executed as this process, or None
    """

    def __init__(
        self,
        container: Container,
        status: str,
        config: Config,
        process_: Process,
        preserved: descriptors.Preserved,
        streams: "list[int] | None" = None,
        hook: "Hook | None" = None,
    ) -> None:
        self.container = container
        self.status = status
        self.process = process_
        self.config = config
        self.name = hook.path if hook else process_.args[0]
        self.preserved = preserved
        self.confinement = privileges.Confinement(process_, config, container.pid)
        self.streams = streams or []
        self.hook = hook

    def deliver_listener(self, channel: int, pid: int) -> None:
        """Send the listener of the seccomp filter, if there is one, from the process `pid` to the filter's agent.

        `channel` is the descriptor that the process's stub reports to. Raises Error or OSError.
        """
        filter_ = self.confinement.filter
        if filter_ and filter_.notify:
            from pyrun.launch.seccomp_listener import deliver  # few filters have one

            path = os.path.join(self.container.bundle, filter_.listener_path)
            deliver(channel, pid, path, filter_.listener_metadata, self.container, self.status)


def execute(
    target: Target, new: NewProcess, take_terminal: "Callable[[list[int]], int]" = lambda masters: -1
) -> "tuple[int, int]":
    """Execute the process `new` in the container; return its pid when its program runs. It is our child, and ^C and the
    like are held (interrupts.hold()).

    `take_terminal` gets [master] of its terminal, and what it returns is returned after the pid; -1 without a terminal.
    Raises Error or OSError; the process is then gone, and collected.
    """
    memfd = carrier.prepare()  # first, because it may restart this command
    files = ImageFiles(target.tree, new.process.cwd)
    with opened(files.own_descriptors):
        try:
            return _execute(target, new, files, memfd, take_terminal)
        except OSError as error:
            raise _in_words(error, target, new, files) from error


def _execute(
    target: Target, new: NewProcess, files: ImageFiles, memfd: int, take_terminal: "Callable[[list[int]], int]"
) -> "tuple[int, int]":
    ours, theirs = Channel.pair()
    with Descriptors() as given:  # to the stub
        if memfd >= 0:
            given.add(memfd)
        streams, terminal = new.streams, -1
        if new.process.terminal:
            with filesystem_ids(*target.owner):  # who owns the terminal until the stub gives it to the user
                master, slave = console.open_terminal(target.tree, files.own_descriptors, new.process)
            streams = [given.add(slave)] * 3
            terminal = take_terminal([master])
        new.confinement.open(target.inside.in_user_namespace)
        for fd in new.confinement.descriptors():
            given.add(fd)
        table = _compile(target, new, files, streams, theirs.fileno())
        # Block ^C until we know the pid, because without it nobody could kill and collect the process.
        mask = interrupts.hold()
        try:
            child = carrier.spawn(memfd, table, streams)
        except BaseException:
            interrupts.release(mask)
            raise
    theirs.close()
    try:
        born = ours.hear("born")
    except BaseException as error:
        ours.close()
        status = os.waitpid(child, 0)[1]
        if status == 0:  # the process was born
            if not isinstance(error, Ended):
                _kill_children(new.container.pid)  # it may have said so, but we could not hear it
            status = os.waitpid(-1, 0)[1]
        interrupts.release(mask)
        if isinstance(error, Ended):
            from pyrun.launch import early_end

            raise early_end.of_status("process", status, new.container.cgroup()) from None
        raise
    try:
        os.waitpid(child, 0)
        interrupts.release(mask)
        new.deliver_listener(ours.fileno(), born.pid)
        ours.hear_end()
        if ended_before_execve(born.pid):
            from pyrun.launch import early_end

            raise early_end.of_zombie("process", born.pid, new.container.cgroup())
        interrupts.hold()  # from now on the process stays, and no interruption shall be told as a failure
    except BaseException:
        end(born.pid)
        raise
    finally:
        ours.close()
    return born.pid, terminal


def _kill_children(init: int) -> None:
    """Kill our children except the init: there is one, whose pid we could not hear. `run` is also the init's parent.

    Source: proc(5), /proc/PID/task/TID/children.
    """
    for pid in map(int, whole_file.read(f"/proc/self/task/{os.getpid()}/children").split()):
        if pid != init:
            os.kill(pid, SIGKILL)


def _compile(target: Target, new: NewProcess, files: ImageFiles, streams: "list[int]", report: int) -> Table:
    process_, confinement = new.process, new.confinement
    with filesystem_ids(*target.owner):
        found = program.to_try(process_, new.name, files, new.preserved.environment, new.hook)
    inside, entry = target.inside, target.entry
    inherited = [0, 1, 2, *new.preserved.numbers, inside.pidfd, inside.root]
    table = Table(report, [*inherited, *entry.descriptors(), *confinement.descriptors()])
    owner, _ = target.outside(process_.user.uid, 0)
    exec_rows.create(table, inside, entry, process_, found, confinement, new.container.keyring, owner, streams)
    return table


def _in_words(error: OSError, target: Target, new: NewProcess, files: ImageFiles) -> Exception:
    """Return the error for a report of the stub: runc's words, if it has some, or `error` itself."""
    cause = os.strerror(error.errno or 0)
    if error.filename == "execve":
        from pyrun.launch.look_up import why_not  # needed only after a failure

        with filesystem_ids(*target.owner):
            return why_not(error, new.name, new.process, files)
    if error.filename == exec_rows.CHANGE_DIRECTORY:
        return Error(f'chdir to cwd ("{new.process.cwd}") set in config.json failed: {cause.lower()}')
    if error.filename == exec_rows.LEAVES_ROOT:
        return Error(f"process.cwd {new.process.cwd} is outside of the container's root file system")
    if error.filename == exec_rows.OOM_SCORE:
        return oom.refused(new.process.oom_score_adj, cause)
    return privileges.in_words(error, new.process, new.config.linux)


def end(pid: int) -> None:
    """Kill our child `pid` and collect it."""
    os.kill(pid, SIGKILL)
    os.waitpid(pid, 0)


def run_hooks(container: Container, kind: str, wanted: "list[Hook]") -> None:
    """Run hooks inside the container: each is executed, and confined, like a process of `exec`. Raises Error."""
    from pyrun.container import hooks  # `exec` does not need it

    config = load_config(container.config_file)

    def spawn(hook: "Hook", streams: "list[int]") -> int:
        nothing = descriptors.Preserved(0, 0)
        new = NewProcess(container, "created", config, _hook_process(hook, config), nothing, streams, hook)
        return execute(target, new)[0]

    with Target(container, container.cgroup()) as target:
        hooks.run(kind, wanted, container.oci_state("created"), spawn)


def _hook_process(hook: "Hook", config: Config) -> Process:
    """Return the hook as a process with the user, capabilities and limits of the container's own process.

    The file at hook.path belongs to the image, so it may be hostile: it must not have more privileges.
    """
    own = config.process.json.properties if config.process else {"cwd": "/"}
    changes = {"args": hook.args or [hook.path], "terminal": False}
    if hook.env is not None:  # otherwise it has the program's environment, as with runc and crun
        changes["env"] = hook.env
    return Process(Node.root({**own, **changes}, "state.json: hooks"))
