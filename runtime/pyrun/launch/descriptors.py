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
    if not _is_count(option):
        raise UsageError(f'invalid value "{option}" for flag -preserve-fds: a number of descriptors')
    preserve_fds = int(option)
    listen_fds = _listen_fds()
    for index in range(listen_fds + preserve_fds):
        try:
            os.fstat(_FIRST + index)
        except OSError:
            source = "LISTEN_FDS" if index < listen_fds else "--preserve-fds"
            raise UsageError(f"{source}: file descriptor {_FIRST + index} is not open") from None
    return Preserved(preserve_fds, listen_fds)


def _listen_fds() -> int:
    """sd_listen_fds(3): LISTEN_FDS counts only where LISTEN_PID says that it is meant for us.

    Else it is our caller's own, which its sockets are not to leave with. conmon sets both, a shell perhaps one.
    """
    count = os.environ.get("LISTEN_FDS", "0")
    ours = os.environ.get("LISTEN_PID") in (None, str(os.getpid()))
    return int(count) if ours and _is_count(count) else 0


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 7  # more descriptors than any process has


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
    close_range(last if memfd < 0 else last + 1)
    return memfd, list(range(first, last))
