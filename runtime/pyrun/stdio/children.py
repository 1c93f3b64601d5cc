"""Children of the runtime: signals are forwarded to them, and they are collected when they have ended."""

import _signal

from foundation.linux import os
from pyrun.container.process import exit_code

# Signals that are meant for the runtime itself, or that no process can catch.
NOT_FORWARDED = {_signal.SIGCHLD, _signal.SIGWINCH, _signal.SIGURG, _signal.SIGKILL, _signal.SIGSTOP}


def forward(pid: int, signal: int) -> None:
    """Send `signal` to our child `pid`; does nothing if that has just ended."""
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass  # it has just ended


def collect(pid: int) -> "int | None":
    """Collect children that have ended; return the status of `pid`, as a shell shows it, or None if it still runs.

    Orphans are collected, too, if we are their subreaper. Raises ChildProcessError if there are no children.
    """
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended == pid:
            return exit_code(status)
        if ended == 0:
            return None
