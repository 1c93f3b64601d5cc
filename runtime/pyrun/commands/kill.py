"""pyrun kill"""

import _signal
import os

from pyrun.container.end import signal
from pyrun.container.state import load
from pyrun.errors import Error, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", id_: str, name: str = "SIGTERM", all: bool = False) -> None:
    number = _number(name)
    container = load(settings.root, id_)
    status = container.status()
    if all:
        for pid in container.cgroup().processes():
            _send(pid, number)
    elif status == "stopped":
        raise Error("container not running")
    elif number == _signal.SIGKILL and container.shares_pids:
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
