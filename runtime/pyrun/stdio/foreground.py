"""Waiting in the foreground for a process: its signals, its terminal, its exit status."""

import _signal

from pyrun.stdio.children import NOT_FORWARDED, collect, forward


def hold_signals() -> None:
    """Block all signals until attend() forwards them. Call this before the process exists, so that none is lost."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, _signal.valid_signals())


def attend(pid: int, terminal: int) -> int:
    """Wait for our child `pid` and return its status as a shell shows it.

    If `terminal`, its master end, is not -1, relay between it and our standard streams meanwhile.
    """
    if terminal < 0:
        return wait(pid)
    from pyrun.stdio.terminal import relay  # loads termios

    return relay(pid, terminal)


def wait(pid: int) -> int:
    """Wait for our child `pid`, forward signals to it, and return its status as a shell shows it.

    Orphans are collected, too, if we are their subreaper. hold_signals() must have been called.
    """
    signals = _signal.valid_signals()
    while True:
        status = collect(pid)
        if status is not None:
            return status
        received = _signal.sigwaitinfo(signals).si_signo
        if received not in NOT_FORWARDED:
            forward(pid, received)
