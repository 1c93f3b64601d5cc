"""How a created container is started. Loads ctypes only for startContainer hooks, which join the container, and for
the listener of a seccomp filter."""

import os
from _signal import SIGKILL

from pyrun import log
from pyrun.container import hooks
from pyrun.container.end import signal
from pyrun.container.state import GATE, NOTIFY, Container
from pyrun.errors import Error
from pyrun.launch import gate


def start(container: Container, foreground: bool = False) -> None:
    """Let the init go on to the user's program, and return when that runs; raise what prevented it.

    Where a service manager wants to know when the container is ready, wait for that too, unless in the `foreground`.
    """
    manager = os.environ.get("NOTIFY_SOCKET", "")
    notifications = None
    lock = container.lock()
    try:
        _check(container.status())
        _run_hooks(container, "startContainer")
        if manager and os.path.isdir(f"{container.directory}/{NOTIFY}"):
            from pyrun.launch.notify import Notifications

            notifications = Notifications(container)
        log.debug(f"start init {container.pid} of {container.id}")
        files = _open_files(container.pid)
        connection = gate.open_(container)
        os.unlink(f"{container.directory}/{GATE}")
        if container.listener[0]:
            from pyrun.launch import listener

            listener.deliver(connection.fileno(), container.pid, *container.listener, container, "created")
        try:
            gate.wait_for_program(connection)
        except OSError as error:
            if not files:
                raise
            from pyrun.launch.failure import explain

            raise explain(error, *files) from error
        finally:
            for fd in files:
                os.close(fd)
        _run_hooks(container, "poststart")
    finally:
        os.close(lock)
    if notifications:
        notifications.pass_on(manager, background=foreground)


def _open_files(pid: int) -> "list[int]":
    """Return the mount namespace and the root of the init, by which they can be seen when it has ended."""
    try:
        mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        return [mounts, os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    except PermissionError:
        return []  # not root's: the init may be one that only its own user namespace may look into


def _check(status: str) -> None:
    if status == "stopped":
        raise Error("cannot start a container that has stopped")
    if status != "created":
        raise Error("cannot start an already running container")


def _run_hooks(container: Container, kind: str) -> None:
    """runtime.md#lifecycle: "If any ... hook fails, the runtime MUST generate an error, stop the container"."""
    wanted = hooks.of_kind(kind, container.hooks)
    if not wanted:
        return
    try:
        if kind == "startContainer":
            from pyrun.launch.join import run_hooks

            run_hooks(container, kind, wanted)
        else:
            hooks.run(kind, wanted, container.oci_state("running"))
    except (Error, OSError):
        signal(container, SIGKILL)
        raise
