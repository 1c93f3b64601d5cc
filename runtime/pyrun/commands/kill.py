"""pyrun kill

`kill ID SIGNAL` is runc's grammar, so the last of several words is the signal wherever it can be one.
"""

import _signal
import os

from pyrun.commands import each
from pyrun.container.end import signal
from pyrun.container.state import Container, load
from pyrun.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", *words: str, all: bool = False) -> int:
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
            raise error from None  # a misspelt signal: nobody gets another one instead
        return words, _signal.SIGTERM


def _kill(container: Container, number: int, all: bool) -> None:
    status = container.status()
    if all:
        for pid in container.processes():
            _send(pid, number)
    elif status == "stopped":
        raise Error("container not running")
    elif number == _signal.SIGKILL and container.shares_pids and container.cgroup_paths:
        container.cgroup().kill()  # no init whose end would end the others
    else:
        signal(container, number)
        if number == _signal.SIGKILL and status == "paused":
            container.cgroup().thaw()  # a process that cgroup v1 has frozen dies only then


def _send(pid: int, number: int) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        pass  # it ended since the cgroup was read


def _number(name: str) -> int:
    """Return the signal that `name` means: a number, or a name with or without SIG, in any case."""
    if name.isascii() and name.isdigit() and len(name) <= 3:
        number = int(name)
        if not 0 < number < _signal.NSIG:
            raise UsageError(f'unknown signal "{name}"')
        return number
    full = name.upper() if name.upper().startswith("SIG") else f"SIG{name.upper()}"
    found = getattr(_signal, full, None) if not full.startswith("SIG_") else None
    if not isinstance(found, int):
        raise UsageError(f'unknown signal "{name}"')
    return found
