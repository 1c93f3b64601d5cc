"""How a container ends: signals and deletion."""

import _signal
import os
import select

from pyrun.container import hooks
from pyrun.container.state import Container, open_process
from pyrun.errors import Error

_PATIENCE_MS = 10_000


def signal(container: Container, number: int) -> None:
    """Send the signal `number` to the container's init. Raises Error where that has ended."""
    pidfd = open_process(container.pid, container.start_time)
    if pidfd < 0:
        raise Error("container not running")
    try:
        _signal.pidfd_send_signal(pidfd, number)
    finally:
        os.close(pidfd)


def delete(container: Container, force: bool) -> None:
    """Remove all that there is of `container`, which must not run unless `force`.

    Raises Error where it runs. A container that waits to be started is killed, as by runc.
    """
    if force:
        _kill(container)  # before the lock: a `start` that waits at the gate holds it, and ends by this
    lock = container.lock()
    try:
        status = container.status()
        if not force and status not in ("stopped", "created"):
            raise Error(f"cannot delete container {container.id} that is not stopped: {status}")
        cgroup = container.cgroup()
        if status != "stopped":
            _kill(container)
        # What is left of it where the init's pid namespace was shared, or its runtime was killed half way.
        cgroup.kill()
        cgroup.remove()
        if container.intel_rdt:
            from pyrun.confine.intel_rdt import of_state  # few containers have some

            of_state(container.intel_rdt).remove()
        if container.monitor[0]:
            from pyrun.container.exit import await_monitor  # few containers have one

            await_monitor(container)
        hooks.run_leniently("poststop", hooks.of_kind("poststop", container.hooks), container.oci_state("stopped"))
        container.remove()
    finally:
        os.close(lock)


def delete_ended(container: Container) -> None:
    """Remove `container`, which has ended, unless another command was faster: `checkpoint`, or `delete --force`."""
    try:
        delete(container, force=True)
    except Error:
        if os.path.isdir(container.directory):
            raise


def _kill(container: Container) -> None:
    """Kill the init and wait until it has ended."""
    pidfd = open_process(container.pid, container.start_time)
    if pidfd < 0:
        return
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGKILL)
        container.cgroup().thaw()  # a process that cgroup v1 has frozen dies only then
        ended = select.poll()
        ended.register(pidfd, select.POLLIN)
        if not ended.poll(_PATIENCE_MS):
            raise Error(f"cannot delete container {container.id}: its init {container.pid} does not end")
    finally:
        os.close(pidfd)
