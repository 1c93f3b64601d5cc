"""Who answers for a system call filter that asks (SCMP_ACT_NOTIFY): gets the listener of the process that loaded it.

      runtime (start, exec)                   last mile                          agent, at listenerPath
                                              load the filter: opens the listener
                             ◀── "seccomp N" (its number)
      take a copy of descriptor N
      ─────────────────────────────────────── ContainerProcessState ───────────▶
                                "1" ──▶       execve closes the original

The acknowledgement comes first, so that no call of the program waits for an agent that does not know of it yet.
"""

import os

from pyrun.container.state import OCI_VERSION, Container
from pyrun.errors import Error
from pyrun.launch import sockets
from pyrun.launch.process import ACKNOWLEDGEMENT, HAS_LISTENER
from pyrun.launch.table import ROW_SIZE, read_report
from pyrun.linux.pidfd import pidfd_getfd
from pyrun.spec.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORBIDDEN = "linux.seccomp: a filter with SCMP_ACT_NOTIFY must allow read and write: this one ended the process"


def deliver(channel: int, pid: int, path: str, metadata: str, container: Container, status: str) -> None:
    """Send the listener of `pid` to the socket at `path`; `channel` is what its last mile reports to.

    Raises the reason why there is none; the process then ends when `channel` is closed.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Error("the process ended before it had loaded its seccomp filter") from None
    try:
        number = _hear(channel)
        listener = pidfd_getfd(pidfd, number)
    finally:
        os.close(pidfd)
    try:
        sockets.send(path, encode(_state(pid, metadata, container, status)).encode(), listener)
    except OSError as error:
        raise Error(f"linux.seccomp.listenerPath: {path}: {error.strerror}") from error
    finally:
        os.close(listener)
    try:
        os.write(channel, ACKNOWLEDGEMENT)
    except BrokenPipeError:
        raise Error(_FORBIDDEN) from None


def _hear(channel: int) -> int:
    """Return the number that the listener has in the process."""
    packet = os.read(channel, ROW_SIZE)
    report = read_report(packet)
    if report is not None:
        raise report
    if not packet.startswith(HAS_LISTENER):
        raise Error(_FORBIDDEN)
    return int(packet[len(HAS_LISTENER) :])


def _state(pid: int, metadata: str, container: Container, status: str) -> "dict[str, Any]":
    """Return the ContainerProcessState of config-linux.md#containerprocessstate."""
    state: dict[str, Any] = {"ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": pid}
    if metadata:
        state["metadata"] = metadata
    state["state"] = container.oci_state(status)
    return state
