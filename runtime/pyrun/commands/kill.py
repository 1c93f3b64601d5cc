"""pyrun kill

`kill ID SIGNAL` is runc's syntax, so the last of several words is the signal if it can be one.
"""

import _signal

from foundation.errors import Error
from foundation.linux.signals import send_to_all
from pyrun.commands import each
from pyrun.container.end import kill_all, signal
from pyrun.container.state import Container, load
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings

# The signals that end a created container of runc: its init waits in a Go program, which handles these.
_ENDS_WAITING_INIT = {_signal.SIGHUP, _signal.SIGINT, _signal.SIGQUIT, _signal.SIGABRT, _signal.SIGTERM}


def run(settings: "Settings", *words: str, all: bool = False) -> int:
    """Send the signal to the init of each container, or with `all` to every process in its cgroup."""
    ids, number = _split(settings.root, words)
    return each(ids, lambda id_: _kill(load(settings.root, id_), number, all))


def _split(root: str, words: "tuple[str, ...]") -> "tuple[tuple[str, ...], int]":
    """Return the ids and the signal of `ID... [SIGNAL]`."""
    if len(words) == 1:
        return words, _signal.SIGTERM
    try:
        return words[:-1], _number(words[-1])
    except UsageError as error:
        try:
            load(root, words[-1])
        except Error:
            raise error from None  # it is a misspelt signal: TERM must not be sent instead
        return words, _signal.SIGTERM


def _kill(container: Container, number: int, all: bool) -> None:
    status = container.status()
    if all:
        send_to_all(container.processes, number)
    elif number == _signal.SIGKILL and container.shares_pids and container.cgroup_paths:
        kill_all(container)  # without a pid namespace the end of the init does not end the other processes
    elif status == "stopped":
        raise Error("container not running")
    elif status == "created" and number in _ENDS_WAITING_INIT:
        signal(container, _signal.SIGKILL)  # pid_namespaces(7): pid 1 only gets signals for which it has a handler
    else:
        signal(container, number)
        if number == _signal.SIGKILL and status == "paused":
            container.cgroup().thaw()  # a process frozen by cgroup v1 dies only when thawed


def _number(name: str) -> int:
    """Return the number of a signal: `name` is a number or a name in any case, with or without SIG; RTMIN+N, RTMAX-N.

    0 sends no signal, and only checks whether the init exists: kill(2).
    """
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    base, sign, offset = full[:8], full[8:9], full[9:]
    if _is_short_number(name):
        number = int(name)
    elif (base, sign) in (("SIGRTMIN", "+"), ("SIGRTMAX", "-")) and _is_short_number(offset):
        number = getattr(_signal, base) + int(sign + offset)
    else:
        number = getattr(_signal, full, -1) if not full.startswith("SIG_") else -1
    if not 0 <= number < _signal.NSIG:
        raise UsageError(f'unknown signal "{name}"')
    return number


def _is_short_number(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 3
