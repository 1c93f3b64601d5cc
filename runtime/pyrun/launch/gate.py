"""The gate: a socket in the state directory on which a created container waits for `start`.

The init's stub accepts one connection, then executes the program. It reports failures on the connection, which is
close-on-exec: end of file means that the program runs, and anything else is the report of the step that failed.
"""

import _socket

from foundation.errors import Error
from foundation.linux import os
from pyrun.container.state import GATE, Container
from pyrun.stdio.sockets import short_path
from pyrun.stub.report import ROW_SIZE, read_report


def listen(container: Container) -> "_socket.socket":
    """Make the gate; the caller closes it.

    Changes the working directory to the state directory: a socket's path has at most 107 bytes (unix(7)).
    """
    gate = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    os.chdir(container.directory)
    gate.bind(GATE)
    gate.listen(1)
    return gate


def open_(container: Container) -> "_socket.socket":
    """Connect to the gate of a created container; the caller closes the connection. Raises Error."""
    connection = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    directory = os.open(container.directory, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        connection.connect(short_path(directory, GATE))
    except OSError as error:
        raise Error(f"cannot start container {container.id}: its init is not waiting: {error.strerror}") from error
    finally:
        os.close(directory)
    return connection


def wait_for_program(connection: "_socket.socket") -> None:
    """Return when the program runs; raise the OSError of the stub's report if it does not."""
    record = b""
    while len(record) < ROW_SIZE:
        part = connection.recv(ROW_SIZE - len(record))
        if not part:
            break
        record += part
    report = read_report(record)
    if report is not None:
        raise report
