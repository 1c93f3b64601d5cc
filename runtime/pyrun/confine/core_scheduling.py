"""The annotation run.pyrun.sched_core: a core scheduling cookie, so that the CPU threads of one core never run
processes of this container and of others at the same time (Linux 5.14, Documentation/admin-guide/hw-vuln/).

A call of the last mile: init makes the cookie, which its children inherit, and who joins takes that of init.
"""

from pyrun.errors import ConfigError
from pyrun.linux.libc import addressof, buffer
from pyrun.linux.prctl import (
    PR_SCHED_CORE,
    PR_SCHED_CORE_CREATE,
    PR_SCHED_CORE_GET,
    PR_SCHED_CORE_SCOPE_THREAD,
    PR_SCHED_CORE_SCOPE_THREAD_GROUP,
    PR_SCHED_CORE_SHARE_FROM,
    prctl,
)
from pyrun.spec.config import SCHED_CORE

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.process import Call


def call(init: int) -> "Call":
    """Return the call for the container's first process, or for one that joins that of the pid `init`."""
    cookie = buffer(bytes(8))
    try:
        prctl(PR_SCHED_CORE, PR_SCHED_CORE_GET, 0, PR_SCHED_CORE_SCOPE_THREAD, addressof(cookie))
    except OSError as error:
        reason = "this kernel or this processor has no core scheduling"
        raise ConfigError(f"config.json: annotations[{SCHED_CORE!r}]: {reason}: {error.strerror}") from error
    if init:
        arguments = PR_SCHED_CORE, PR_SCHED_CORE_SHARE_FROM, _seen_from_inside(init), PR_SCHED_CORE_SCOPE_THREAD
    else:
        arguments = PR_SCHED_CORE, PR_SCHED_CORE_CREATE, 0, PR_SCHED_CORE_SCOPE_THREAD_GROUP
    return "prctl", arguments, "core scheduling cookie"


def _seen_from_inside(pid: int) -> int:
    """Return the number of the process `pid` in the pid namespace that it is in."""
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
    return pid
