"""How a worker reaches a running container: by its init."""

import _signal

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.opened import opened
from pyrun.container.process import open_process
from pyrun.container.state import load
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.model.container import Container


def running_pid(container: "Container") -> int:
    """Return the pid of the container's init. Raises ApiError if it has ended."""
    pid, pidfd = _init(container)
    os.close(pidfd)
    return pid


def running_namespace(container: "Container") -> int:
    """Return a descriptor of the container's network namespace, which the caller closes. Raises ApiError if the
    container has ended."""
    return _open(container, "ns/net", os.O_RDONLY)


def running_root(container: "Container") -> int:
    """The same of its root directory: by this descriptor, which is O_PATH, paths lead into its mount namespace."""
    return _open(container, "root", os.O_PATH | os.O_DIRECTORY)


def _open(container: "Container", name: str, flags: int) -> int:
    pid, pidfd = _init(container)
    with opened(pidfd):
        try:
            found = os.open(f"/proc/{pid}/{name}", flags | os.O_CLOEXEC)
        except (FileNotFoundError, ProcessLookupError):
            raise _ended(container) from None
        try:
            _signal.pidfd_send_signal(pidfd, 0)  # it is still there, so the pid was not another process's
        except ProcessLookupError:
            os.close(found)
            raise _ended(container) from None
        return found


def _init(container: "Container") -> "tuple[int, int]":
    """Return the pid and a pidfd of the container's init. Raises ApiError if it has ended."""
    try:
        state = load(container.places.states, container.id)
    except Error:
        raise _ended(container) from None
    pidfd = open_process(state.pid, state.start_time)
    if pidfd < 0:
        raise _ended(container)
    return state.pid, pidfd


def _ended(container: "Container") -> ApiError:
    return ApiError(409, f"container {container.id} is not running")
