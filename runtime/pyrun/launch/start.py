"""How a created container is started. ctypes, which is slow to load, is needed only for startContainer hooks, which
enter the container, and for the listener of a seccomp filter."""

from _signal import SIGKILL

from foundation.errors import Error
from foundation.linux import os
from pyrun import log
from pyrun.container.process import ended_before_execve
from pyrun.container.state import GATE, NOTIFY, Container
from pyrun.launch import gate

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_STOPPED = "cannot start a container that has stopped"


def start(container: Container, foreground: bool = False) -> "Callable[[], object]":
    """Let the init execute the program, and return when it runs. Raises Error or OSError if it does not.

    If NOTIFY_SOCKET is set, also wait until the container reports that it is ready; in the `foreground`, the returned
    function does the waiting.
    """
    manager = os.environment.get("NOTIFY_SOCKET", "")
    notifications = None
    with container.locked() as container:
        _check(container.status())
        _run_hooks(container, "startContainer")
        if manager and os.path.isdir(f"{container.directory}/{NOTIFY}"):
            from pyrun.launch.notify import Notifications  # few callers are services

            notifications = Notifications(container)
        log.debug(f"start init {container.pid} of {container.id}")
        files = _open_files(container.pid)
        connection = gate.open_(container)
        os.unlink(f"{container.directory}/{GATE}")
        if container.listener[0]:
            from pyrun.launch import seccomp_listener  # few filters have one

            seccomp_listener.deliver(connection.fileno(), container.pid, *container.listener, container, "created")
        try:
            gate.wait_for_program(connection)
            if ended_before_execve(container.pid):
                from pyrun.launch import early_end  # only for the message

                raise early_end.of_zombie("container init", container.pid, container.cgroup())
        except OSError as error:
            from pyrun.launch.failure import explain  # only for the message

            raise explain(error, container.program, files) from error
        finally:
            for fd in files:
                os.close(fd)
        _run_hooks(container, "poststart")
    if notifications and foreground:
        return notifications.pass_on_meanwhile(manager)
    if notifications:
        notifications.pass_on(manager)
    return _no_waiting


def _no_waiting() -> None:
    """What the caller of `start` calls if no service manager waits for the container."""


def _open_files(pid: int) -> "list[int]":
    """Return [mount namespace, root] of the init as descriptors, to look into its files after it has ended.

    Raises Error if it has ended already.
    """
    try:
        mounts = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        return [mounts, os.open(f"/proc/{pid}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)]
    except PermissionError:
        return []  # we are not root, and the init is undumpable: only its own user namespace may look into it
    except (FileNotFoundError, ProcessLookupError):
        raise Error(_STOPPED) from None


def _check(status: str) -> None:
    if status == "stopped":
        raise Error(_STOPPED)
    if status == "paused":
        raise Error("cannot start a container in the paused state")
    if status != "created":
        raise Error("cannot start an already running container")


def _run_hooks(container: Container, kind: str) -> None:
    """runtime.md#lifecycle: "If any ... hook fails, the runtime MUST generate an error, stop the container"."""
    wanted = container.hooks.get(kind)
    if not wanted:
        return
    try:
        if kind == "startContainer":
            from pyrun.launch.exec import run_hooks  # few containers have some, and it loads ctypes

            run_hooks(container, kind, wanted)
        else:
            from pyrun.container import hooks  # few containers have some

            os.chdir(container.bundle)  # the hooks of `create` have this working directory, too
            hooks.run(kind, wanted, container.oci_state("running"))
    except (Error, OSError):
        from pyrun.container.end import signal  # few hooks fail

        try:
            signal(container, SIGKILL)
        except Error:
            pass  # the container has ended already; the caller needs the hook's error
        raise
