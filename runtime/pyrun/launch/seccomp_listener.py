"""SCMP_ACT_NOTIFY: the agent that decides about system calls gets the listener of the process that loads the filter.

      runtime (start, exec)                   stub                               agent, at listenerPath
                                              load the filter: opens the listener
                             ◀── "seccomp N" (its number)
      take a copy of descriptor N
      ─────────────────────────────────────── ContainerProcessState ───────────▶
                                "1" ──▶       execve closes the original

The stub waits for the acknowledgement before execve(2), so that the agent has the listener before the program's first
system call waits for an answer.
"""

from foundation.encode import encode
from foundation.errors import Error
from foundation.linux import os
from foundation.linux.opened import opened
from foundation.linux.pidfd import pidfd_getfd
from foundation.linux.whole_file import write_all
from pyrun.container.state import OCI_VERSION, Container
from pyrun.stdio import sockets
from pyrun.stub.report import ROW_SIZE, read_report
from pyrun.stub.seccomp_load import ACKNOWLEDGEMENT, HAS_LISTENER

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_FORBIDDEN = "linux.seccomp: a filter with SCMP_ACT_NOTIFY must allow read and write: this one ended the process"


def deliver(channel: int, pid: int, path: str, metadata: str, container: Container, status: str) -> None:
    """Send the listener of the process `pid` to the agent's socket at `path`. Its stub reports to `channel`.

    Raises Error or OSError; the process then ends when the caller closes `channel`. Needs Linux 5.6 (pidfd_getfd(2)).
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        raise Error("the process ended before it had loaded its seccomp filter") from None
    with opened(pidfd):
        number = _hear(channel)
        listener = pidfd_getfd(pidfd, number)
    try:
        sockets.send(path, encode(_state(pid, metadata, container, status)).encode(), listener)
    except OSError as error:
        raise Error(f"linux.seccomp.listenerPath: {path}: {error.strerror}") from error
    finally:
        os.close(listener)
    try:
        write_all(channel, ACKNOWLEDGEMENT)
    except BrokenPipeError:
        raise Error(_FORBIDDEN) from None


def _hear(channel: int) -> int:
    """Return the listener's descriptor number in the process."""
    packet = os.read(channel, ROW_SIZE)
    report = read_report(packet)
    if report is not None:
        raise report
    if not packet.startswith(HAS_LISTENER):
        raise Error(_FORBIDDEN)
    return int(packet[len(HAS_LISTENER) :])


def _state(pid: int, metadata: str, container: Container, status: str) -> "dict[str, Any]":
    """Return the ContainerProcessState (config-linux.md#containerprocessstate)."""
    state: dict[str, Any] = {"ociVersion": OCI_VERSION, "fds": ["seccompFd"], "pid": pid}
    if metadata:
        state["metadata"] = metadata
    state["state"] = container.oci_state(status)
    return state
