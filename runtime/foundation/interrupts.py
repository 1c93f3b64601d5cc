"""^C, SIGTERM, SIGHUP and SIGQUIT: the first raises KeyboardInterrupt, so that the command undoes its work; later ones
do nothing.

A terminal, a supervisor that signals a process group, and the kernel (PR_SET_PDEATHSIG) may each send one. A second
exception would interrupt the undo steps, and leave half a container.
"""

import _signal

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import FrameType
    from typing import NoReturn

ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)


def interrupt_once(*numbers: int) -> None:
    """Let the first of the signals raise KeyboardInterrupt with its number: of `numbers`, and of all that would end us.

    The others stay ignored: nohup(1) ignores SIGHUP, and a shell without job control ignores SIGINT of its background.
    """
    for number in ENDING:
        if number in numbers or _signal.getsignal(number) in (_signal.SIG_DFL, _signal.default_int_handler):
            _signal.signal(number, _interrupt)


def hold() -> "set[int]":
    """Block these signals and return the previous mask, for release()."""
    return {int(number) for number in _signal.pthread_sigmask(_signal.SIG_BLOCK, ENDING)}


def release(mask: "set[int]") -> None:
    """Restore the `mask` that hold() returned; a signal that came meanwhile is handled now."""
    _signal.pthread_sigmask(_signal.SIG_SETMASK, mask)


def _interrupt(number: int, frame: "FrameType | None") -> "NoReturn":
    for one in ENDING:
        if _signal.getsignal(one) is _interrupt:
            # Not SIG_IGN, because children would inherit it, and because Python prints a warning if it finds a pending
            # signal without a handler.
            _signal.signal(one, _do_nothing)
    raise KeyboardInterrupt(number)


def _do_nothing(number: int, frame: "FrameType | None") -> None:
    pass
