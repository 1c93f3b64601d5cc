"""The descriptors that the caller passes on to a process: LISTEN_FDS, then --preserve-fds. They keep their numbers."""

from foundation.linux import os
from pyrun.errors import UsageError

_FIRST = 3


class Preserved:
    """The descriptors that the caller passes on, and the environment that announces them."""

    def __init__(self, preserve_fds: int, listen_fds: int) -> None:
        self.numbers = range(_FIRST, _FIRST + listen_fds + preserve_fds)
        # sd_listen_fds(3) compares LISTEN_PID with the pid of the process. Like runc, assume that it is pid 1.
        self.environment = [f"LISTEN_FDS={listen_fds}", "LISTEN_PID=1"] if listen_fds else []


def receive(option: str) -> Preserved:
    """Return the descriptors that the caller passes on; `option` is the value of --preserve-fds.

    Raises UsageError if `option` is not a number, or if a descriptor is not open.
    """
    check(option)
    preserve_fds = int(option)
    listen_fds = _listen_fds()
    for index in range(listen_fds + preserve_fds):
        if not _is_passed_on(_FIRST + index):
            source = "LISTEN_FDS" if index < listen_fds else "--preserve-fds"
            raise UsageError(f"{source}: file descriptor {_FIRST + index} is not open") from None
    return Preserved(preserve_fds, listen_fds)


def check(option: str) -> None:
    """Raise UsageError if the value of --preserve-fds is not a number."""
    if not _is_count(option):
        raise UsageError(f'invalid value "{option}" for flag -preserve-fds: a number of descriptors')


def _is_passed_on(fd: int) -> bool:
    """Return whether our caller has left `fd` open for us. Those that we have opened ourselves are close-on-exec."""
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False  # EBADF


def _listen_fds() -> int:
    """Return LISTEN_FDS if it is meant for us, otherwise 0 (sd_listen_fds(3)).

    If LISTEN_PID is another process, the variable was meant for our caller, whose sockets we must not pass on. conmon
    sets both variables, a shell perhaps only LISTEN_FDS.
    """
    count = os.environment.get("LISTEN_FDS", "0")
    ours = os.environment.get("LISTEN_PID") in (None, str(os.getpid()))
    return int(count) if ours and _is_count(count) else 0


def _is_count(text: str) -> bool:
    return text.isascii() and text.isdigit() and len(text) <= 7  # more descriptors than any process has
