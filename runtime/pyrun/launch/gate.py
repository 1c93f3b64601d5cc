"""The gate: a socket in the state directory on which a created container waits.

The init's last mile accepts one connection and goes on to execve, with the connection as the place for its reports.  So
the connection is closed by a successful execve, and anything read from it before is the reason why there was none.
"""

import _socket
import os

from pyrun.container.state import GATE, Container
from pyrun.errors import Error
from pyrun.launch.table import ROW_SIZE, read_report


def listen(container: Container) -> "_socket.socket":
    """Make the gate. Changes the working directory: a socket's path may have 107 bytes, a state directory's more."""
    gate = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    os.chdir(container.directory)
    gate.bind(GATE)
    gate.listen(1)
    return gate


def open_(container: Container) -> "_socket.socket":
    """Open the gate of a created container. Changes the working directory."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    os.chdir(container.directory)
    try:
        connection.connect(GATE)
    except OSError as error:
        raise Error(f"cannot start container {container.id}: its init is not waiting: {error.strerror}") from error
    return connection


def wait_for_program(connection: "_socket.socket") -> None:
    """Return when the user's program runs; raise the reason, an OSError, when it does not."""
    record = b""
    while len(record) < ROW_SIZE:
        part = connection.recv(ROW_SIZE - len(record))
        if not part:
            break
        record += part
    report = read_report(record)
    if report is not None:
        raise report
