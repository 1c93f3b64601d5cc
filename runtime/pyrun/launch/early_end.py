"""Why a process ended before it executed the program that it was made for. Loaded only when one did."""

import select
from _signal import SIGKILL, SIGSYS

from foundation.errors import Error
from foundation.linux import os
from pyrun.container.process import zombie_status

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.group import Cgroup


def of_zombie(who: str, pid: int, cgroup: "Cgroup") -> Error:
    """Return what to say of the process `pid`, which is ending or has ended, and was in `cgroup`."""
    try:
        pidfd = os.pidfd_open(pid)
    except OSError:
        return of_status(who, 0, cgroup)  # another process has collected it
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    ended.poll()
    os.close(pidfd)
    return of_status(who, zombie_status(pid), cgroup)


def of_status(who: str, status: int, cgroup: "Cgroup") -> Error:
    """Return what to say of a process that has ended with `status`, as of wait(2), and was in `cgroup`."""
    signal = os.WTERMSIG(status)
    if not signal:
        return Error(f"{who} ended before its program ran")
    why = ""
    if signal == SIGSYS:
        why = ": a seccomp filter forbids a call that is made before the program runs, as execve is"
    elif signal == SIGKILL and cgroup.oom_kills():
        why = " (possibly OOM-killed: memory limit too low?)"
    return Error(f"{who} was killed by signal {signal} before its program ran{why}")
