"""Which descriptors a process gets, at which numbers.

0 1 2         standard streams
3 ...         what the caller passes on: LISTEN_FDS, then --preserve-fds; they stay where they are
report        and what else the last mile needs, which closes them before execve
"""

import os
from fcntl import F_DUPFD_CLOEXEC, fcntl

from pyrun.errors import UsageError
from pyrun.launch.process import own_streams
from pyrun.linux.unistd import close_range

_FIRST = 3


class Preserved:
    """The descriptors that the caller passes on: `count` from 3, and what the process's environment says of them."""

    def __init__(self, preserve_fds: int, listen_fds: int) -> None:
        self.count = listen_fds + preserve_fds
        # sd_listen_fds(3): the container's process is pid 1, or as good as.
        self.environment = [f"LISTEN_FDS={listen_fds}", "LISTEN_PID=1"] if listen_fds else []


def receive(option: str) -> Preserved:
    """Look at what the caller passes on, `option` being what --preserve-fds says.

    Raises UsageError where that is no number, or a descriptor is not there.
    """
    if not (option.isascii() and option.isdigit()):
        raise UsageError(f'invalid value "{option}" for flag -preserve-fds: a number of descriptors')
    preserve_fds = int(option)
    text = os.environ.get("LISTEN_FDS", "0")
    listen_fds = int(text) if text.isascii() and text.isdigit() else 0
    for index in range(listen_fds + preserve_fds):
        try:
            os.fstat(_FIRST + index)
        except OSError:
            source = "LISTEN_FDS" if index < listen_fds else "--preserve-fds"
            raise UsageError(f"{source}: file descriptor {_FIRST + index} is not open") from None
    return Preserved(preserve_fds, listen_fds)


def place(
    preserved: Preserved, streams: "list[int]", needed: "list[int]", memfd: int, uid: int
) -> "tuple[int, list[int]]":
    """Put the descriptors `needed` where the last mile finds them, and close all others.

    `streams` become the standard streams, [] keeps those there are; they are given to `uid`. Returns both `memfd` and
    `needed` with their new
    numbers. `needed` will stay open across execve(2), `memfd` (or -1) will not.
    """
    first = _FIRST + preserved.count
    last = first + len(needed)
    # Out of the way first: a source may lie where another one belongs.
    needed = [fcntl(fd, F_DUPFD_CLOEXEC, last + 1) for fd in needed]
    for number, fd in enumerate(streams):
        os.dup2(fd, number)
    own_streams(uid)
    if memfd >= 0:
        memfd = fcntl(memfd, F_DUPFD_CLOEXEC, last + 1)
    for number, fd in enumerate(needed, first):
        os.dup2(fd, number)
    if memfd >= 0:
        memfd = os.dup2(memfd, last, inheritable=False)
    for fd in range(_FIRST, first):
        os.set_inheritable(fd, True)
    close_range(last + 1)
    return memfd, list(range(first, last))
