"""The annotation run.pyrun.sched_core: a core scheduling cookie, so that the CPU threads of one core never run
processes of this container and of others at the same time (Linux 5.14, Documentation/admin-guide/hw-vuln/).

The stub makes the call: the init creates a cookie, which its children inherit; a process of `exec` copies the init's.
"""

from foundation.linux.libc import addressof, buffer
from foundation.linux.prctl import (
    PR_SCHED_CORE,
    PR_SCHED_CORE_CREATE,
    PR_SCHED_CORE_GET,
    PR_SCHED_CORE_SCOPE_THREAD,
    PR_SCHED_CORE_SCOPE_THREAD_GROUP,
    PR_SCHED_CORE_SHARE_FROM,
    prctl,
)
from pyrun.config.document import SCHED_CORE
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from foundation.linux.syscalls import Call


def call(init: int) -> "Call":
    """Return the call for the container's init (`init` is 0), or for another process of the init with the pid `init`.

    Raises ConfigError if the kernel or the processor has no core scheduling.
    """
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
    """Return the pid that the process `pid` has in its own pid namespace: the call is made in there."""
    with open(f"/proc/{pid}/status", "rb") as file:
        for line in file:
            if line.startswith(b"NSpid:"):
                return int(line.split()[-1])
    return pid
