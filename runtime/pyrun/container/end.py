"""How a container ends: signals and deletion."""

import _signal

from foundation.errors import Error
from foundation.linux import os
from pyrun import log
from pyrun.cgroup.group import Cgroup
from pyrun.container.process import open_process, process_stat, session
from pyrun.container.state import Container, load_all
from pyrun.errors import NoContainer

_PATIENCE_MS = 10_000


def signal(container: Container, number: int) -> None:
    """Send the signal `number` to the container's init. Raises Error if the init has ended."""
    pidfd = open_process(container.pid, container.start_time)
    if pidfd < 0:
        raise Error("container not running")
    try:
        _signal.pidfd_send_signal(pidfd, number)
    except ProcessLookupError:
        raise Error("container not running") from None  # it has just ended
    finally:
        os.close(pidfd)


def kill_all(container: Container) -> None:
    """Kill all processes in the container's cgroup.

    Raises Error if there are none, or if the container has stopped and another one uses the same cgroup.
    """
    cgroup = container.cgroup()
    if not cgroup.processes() or (container.status() == "stopped" and is_used_by_another(container, cgroup)):
        raise Error("container not running")
    cgroup.kill()


def delete(container: Container, force: bool) -> None:
    """Remove `container`: its processes, cgroup and state. A created container is killed, as by runc.

    Raises Error if it runs or is paused, unless `force`.
    """
    if force:
        # Before taking the lock, because a `start` blocked at the gate holds it, and returns only when the init dies.
        _kill(container)
    with container.locked() as container:
        status = container.status()
        if not force and status not in ("stopped", "created"):
            raise Error(f"cannot delete container {container.id} that is not stopped: {status}")
        if status != "stopped":
            _kill(container)
        if container.criu[0]:
            end_session(*container.criu)
        _empty_cgroup(container)
        if container.root_mount:
            from pyrun.rootfs import on_host  # few containers have no mount namespace

            on_host.unmount(container.rootfs, container.root_mount)
        if container.intel_rdt:
            from pyrun.confine.intel_rdt import of_state  # few containers have some

            of_state(container.intel_rdt).remove()
        if container.monitor[0]:
            from pyrun.container.exit_status import await_monitor  # few containers have one

            await_monitor(container)
        if container.hooks.get("poststop"):
            from pyrun.container import hooks  # few containers have some

            hooks.run_leniently("poststop", container.hooks["poststop"], container.oci_state("stopped"))
        container.remove()


def end_session(leader: int, start_time: int) -> None:
    """Kill the processes in the session of the process that had the pid `leader` at `start_time`.

    The kernel gives nobody that pid while the session has processes (free_pid in kernel/pid.c). So if another process
    has it, none of the session is left.
    """
    stat = process_stat(leader)
    if not leader or (stat and stat[2] != start_time):
        return
    for pid in [int(name) for name in os.listdir("/proc") if name.isdigit()]:
        if session(pid) == leader:
            _kill_in_session(pid, leader)


def _kill_in_session(pid: int, leader: int) -> None:
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return
    try:
        if session(pid) == leader:  # and not another process that has got the pid
            _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
    except ProcessLookupError:
        pass  # it has just ended
    finally:
        os.close(pidfd)


def delete_ended(container: Container) -> None:
    """Remove `container`, which has ended, unless `checkpoint` or another `delete` has done so already."""
    try:
        delete(container, force=True)
    except NoContainer:
        pass


def _empty_cgroup(container: Container) -> None:
    """Kill what is left in the cgroup and remove it, unless another container with the same cgroupsPath uses it.

    When an init ends, the kernel kills all processes of its pid namespace (pid_namespaces(7)). So this container can
    have processes left only if it shares a pid namespace, or if its runtime was killed before it had saved the init's
    pid. Otherwise, processes in the cgroup are somebody else's: the cgroup stays.
    """
    cgroup = container.cgroup()
    if (container.shares_pids or container.creator[0]) and not is_used_by_another(container, cgroup):
        cgroup.kill()
    elif cgroup.processes():
        log.warning(f"container {container.id}: its cgroup {cgroup.directories[0]} stays: others have processes in it")
        return
    cgroup.remove()
    if container.unit:
        from pyrun.cgroup.systemd_manager import Manager  # few containers have a scope

        Manager().stop(container.unit)


def is_used_by_another(container: Container, cgroup: Cgroup) -> bool:
    """Return whether another container that has not ended is in this cgroup or below it."""
    ours = tuple(f"{directory}/" for directory in cgroup.directories)
    return any(
        other.id != container.id and other.status() != "stopped" and f"{path}/".startswith(ours)
        for other in load_all(os.path.dirname(container.directory))
        for path in other.cgroup_paths.values()
    )


def _kill(container: Container) -> None:
    """Kill the init and wait until it has ended. Raises Error if it does not end within 10 s."""
    pidfd = open_process(container.pid, container.start_time)
    if pidfd < 0:
        return
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        # A frozen process of cgroup v1 dies only when thawed; the container may also have frozen cgroups below its own.
        container.cgroup().thaw_v1()
        from select import POLLIN, poll  # few containers are killed to be deleted

        ended = poll()
        ended.register(pidfd, POLLIN)
        if not ended.poll(_PATIENCE_MS):
            raise Error(f"cannot delete container {container.id}: its init {container.pid} does not end")
    except ProcessLookupError:
        pass  # it has just ended
    finally:
        os.close(pidfd)
