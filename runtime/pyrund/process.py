"""What a process of the engine does first, after fork(2) from the daemon."""

import _signal
import gc
import resource

from foundation.linux import os
from foundation.linux.prctl import set_name
from foundation.linux.unistd import close_range

PORT, LOCK = 3, 4  # its descriptors
NETWORK, UPLINK = 5, 6  # and those of the launcher, if the engine is rootless (rootless.py)

_of_our_caller: "list[tuple[int, int]]" = []


def raise_limit_of_files() -> None:
    """Let this process, and what it forks, have as many descriptors as it may: each container takes some."""
    limits = resource.getrlimit(resource.RLIMIT_NOFILE)
    _of_our_caller.append(limits)
    resource.setrlimit(resource.RLIMIT_NOFILE, (limits[1], limits[1]))


def restore_limit_of_files() -> None:
    """Have the limit again that the daemon was started with: containers shall have no other."""
    if _of_our_caller:
        resource.setrlimit(resource.RLIMIT_NOFILE, _of_our_caller[0])


def settle(name: bytes, port: int, lock: int, *others: int) -> None:
    """Give the process its `name`, of at most 15 bytes, and close all that belongs to the daemon.

    `port` gets the number PORT, `lock` the number LOCK, and `others` those that follow; standard error stays.
    """
    os.setsid()  # ^C in the daemon's terminal is for the daemon
    set_name(name)
    _signal.set_wakeup_fd(-1)
    _signal.signal(_signal.SIGTERM, _signal.SIG_DFL)
    _signal.signal(_signal.SIGINT, _signal.SIG_DFL)
    kept = (port, lock, *others)
    above = max(*kept, PORT + len(kept)) + 1
    for number, fd in enumerate(kept):
        os.dup2(fd, above + number)
    for number in range(len(kept)):
        os.dup2(above + number, PORT + number, inheritable=False)
    close_range(PORT + len(kept))
    gc.freeze()  # objects of the daemon must not close what has the numbers of their descriptors now
