"""Waiting in the foreground for a process: its signals, its terminal, its exit status."""

import _signal
import os

from pyrun.container.state import exit_code

# What the runtime gets on its own account, and what nobody can pass on.
NOT_FORWARDED = {_signal.SIGCHLD, _signal.SIGWINCH, _signal.SIGURG, _signal.SIGKILL, _signal.SIGSTOP}


def hold_signals() -> None:
    """Keep signals until wait() passes them on. To be called before the process exists, so that none is lost."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())


def attend(pid: int, terminal: int) -> int:
    """Wait for our child `pid`, relaying its terminal, where `terminal` is not -1, to and from our standard streams."""
    if terminal < 0:
        return wait(pid)
    from pyrun.launch.terminal import relay  # loads termios

    return relay(pid, terminal)


def wait(pid: int) -> int:
    """Wait for our child `pid`, passing signals on to it, and return its status as a shell shows it.

    Collects orphans too, which come to us where we are their subreaper.
    """
    signals = _signal.valid_signals()
    while True:
        status = collect(pid)
        if status is not None:
            return status
        received = _signal.sigwaitinfo(signals).si_signo
        if received not in NOT_FORWARDED:
            forward(pid, received)


def forward(pid: int, signal: int) -> None:
    try:
        os.kill(pid, signal)
    except ProcessLookupError:
        pass  # it has just ended


def collect(pid: int) -> "int | None":
    """Collect the children that have ended; return the status of `pid` if it is among them, else None."""
    while True:
        ended, status = os.waitpid(-1, os.WNOHANG)
        if ended == pid:
            return exit_code(status)
        if ended == 0:
            return None
