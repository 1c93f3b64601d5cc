"""A daemon that a command starts if none listens at the default socket, so that a new user needs no set-up.

It ends by itself after some time without clients and containers that run.
"""

import fcntl
import sys
import time

from foundation.errors import reason
from foundation.linux import os, whole_file
from foundation.linux.unistd import close_range
from pyrund.client.address import DEFAULT, Address
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_IDLE = 300  # seconds
_PATIENCE, _ATTEMPTS, _PAUSE = 20.0, 10, 0.05
_FOLDER = "/run/pyrund"
_LOG = f"{_FOLDER}/log"
_LOCK = f"{_FOLDER}/starting"
_KEPT = ("PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")  # variables, beside those for proxies and of the locale


def begin() -> None:
    """Start a daemon, and return when it listens. Raises Refused."""
    if os.geteuid() != 0:
        raise Refused(f"Cannot connect to the Docker daemon at {DEFAULT}, and only root can start one")
    os.makedirs(_FOLDER, 0o700, exist_ok=True)
    # One command at a time starts a daemon; the others find it when it is their turn.
    lock = os.open(_LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _begin()
    finally:
        os.close(lock)


def _begin() -> None:
    for _ in range(_ATTEMPTS):
        if _listens():
            return
        child = os.fork()
        if child == 0:
            _become_daemon()
        if _waited(child):
            return
        if "another" not in _last_line():
            break
        time.sleep(_PAUSE)  # that one may just be ending
    raise Refused(f"the daemon does not start: {_last_line()}")


def _listens() -> bool:
    try:
        Address(DEFAULT).connect().close()
        return True
    except OSError:
        return False


def _waited(child: int) -> bool:
    """Return whether a daemon listens before the one that we have started has ended."""
    deadline = time.monotonic() + _PATIENCE
    while time.monotonic() < deadline:
        has_ended = os.waitpid(child, os.WNOHANG)[0] != 0
        if _listens():
            return True
        if has_ended:
            return False
        time.sleep(_PAUSE)
    return False


def _become_daemon() -> "NoReturn":
    """Execute `pyrund serve`, apart from our terminal, with nothing of ours open."""
    try:
        program = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        os.setsid()
        os.chdir("/")  # after abspath(), because `./pyrund` is in the directory of our caller
        null = os.open("/dev/null", os.O_RDWR)
        log = os.open(_LOG, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        for fd, number in ((null, 0), (null, 1), (log, 2)):
            os.dup2(fd, number)
        close_range(3)
        words = ["serve", "--idle", str(_IDLE)]
        if os.path.isdir(program):
            code = "import sys; sys.path[:0] = [sys.argv.pop(1)]; from pyrund.cli import main; main()"
            os.execve(sys.executable, [sys.executable, "-IS", "-c", code, program, *words], _environment())
        os.execve(program, ["pyrund", *words], _environment())
    except OSError as error:
        print(f"pyrund: {reason(error)}", file=sys.stderr, flush=True)
    finally:
        os._exit(1)


def _environment() -> "dict[str, str]":
    """Return the variables that the daemon gets: none that may be a secret of the user's."""
    return {
        name: value
        for name, value in os.environment.items()
        if name in _KEPT or name.lower().endswith("_proxy") or name.startswith("LC_")
    }


def _last_line() -> str:
    try:
        lines = whole_file.read(_LOG).decode("utf-8", "replace").split("\n")
    except OSError as error:
        return f"{_LOG}: {error.strerror}"
    return next((line for line in reversed(lines) if line), "it ends at once").removeprefix("pyrund: ")
