"""A daemon that a command starts if none listens at the default socket, so that a new user needs no set-up.

It ends by itself after some time without clients and containers that run.
"""

import fcntl
import sys
import time

from foundation.errors import reason
from foundation.linux import os, whole_file
from foundation.linux.unistd import close_range
from pyrund.client.address import Address
from pyrund.errors import Refused
from pyrund.places import Defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import NoReturn

_IDLE = 300  # seconds
_PATIENCE, _ATTEMPTS, _PAUSE = 20.0, 10, 0.05
_KEPT = ("PATH", "LANG", "TZ", "SSL_CERT_FILE", "SSL_CERT_DIR")  # variables, beside those for proxies and of the locale
_KEPT_OF_A_USER = ("HOME", "XDG_RUNTIME_DIR", "XDG_DATA_HOME", "XDG_CONFIG_HOME")


def begin() -> None:
    """Start a daemon of our own, and return when it listens. Raises Refused."""
    folder = Defaults().run
    os.makedirs(folder, 0o700, exist_ok=True)
    # One command at a time starts a daemon; the others find it when it is their turn.
    lock = os.open(f"{folder}/starting", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        _begin(f"{folder}/log")
    finally:
        os.close(lock)


def _begin(log: str) -> None:
    for _ in range(_ATTEMPTS):
        if _listens():
            return
        child = os.fork()
        if child == 0:
            _become_daemon(log)
        if _waited(child):
            return
        if "another" not in _last_line(log):
            break
        time.sleep(_PAUSE)  # that one may just be ending
    raise Refused(f"the daemon does not start: {_last_line(log)}")


def _listens() -> bool:
    try:
        Address(f"unix://{Defaults().socket}").connect().close()
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


def _become_daemon(log: str) -> "NoReturn":
    """Execute `pyrund serve`, apart from our terminal, with nothing of ours open."""
    try:
        program = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
        os.setsid()
        os.chdir("/")  # after abspath(), because `./pyrund` is in the directory of our caller
        null = os.open("/dev/null", os.O_RDWR)
        errors = os.open(log, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_APPEND | os.O_NOFOLLOW, 0o600)
        for fd, number in ((null, 0), (null, 1), (errors, 2)):
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
    kept = _KEPT + (_KEPT_OF_A_USER if Defaults().is_rootless else ())
    return {
        name: value
        for name, value in os.environment.items()
        if name in kept or name.lower().endswith("_proxy") or name.startswith("LC_")
    }


def _last_line(log: str) -> str:
    try:
        lines = whole_file.read(log).decode("utf-8", "replace").split("\n")
    except OSError as error:
        return f"{log}: {error.strerror}"
    return next((line for line in reversed(lines) if line), "it ends at once").removeprefix("pyrund: ")
