"""The part of the module os that the programs need: posix, and some functions that os adds in Python.

Importing os takes 1.3 ms of a start, two thirds of them for abstract base classes that we do not need. path.py replaces
os.path for the same reason: posixpath imports os.

An OSError of open() names the file, but one of fork() has only an errno, which does not help a user. So calls that take
no path put their own name into the error, as the calls of libc.py do.
"""

import posix
import sys
from errno import EINVAL, ENOENT, ESRCH
from posix import *  # noqa: F403
from posix import _exit as _exit

from foundation.linux import path as path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any, TypeVar

    _Call = TypeVar("_Call", bound=Callable[..., Any])

SEEK_SET, SEEK_END = 0, 2
defpath = "/bin:/usr/bin"
_ENCODING = sys.getfilesystemencoding(), sys.getfilesystemencodeerrors()


def fsencode(name: "str | bytes") -> bytes:
    """Return a file name as the kernel takes it."""
    return name.encode(*_ENCODING) if isinstance(name, str) else name


def fsdecode(name: "str | bytes") -> str:
    """Return a file name as text; bytes that are not of the encoding become surrogates (PEP 383)."""
    return name.decode(*_ENCODING) if isinstance(name, bytes) else name


environment = {fsdecode(name): fsdecode(value) for name, value in posix.environ.items()}


def home() -> str:
    """Return the user's home directory, as os.path.expanduser("~")."""
    if "HOME" not in environment:
        import pwd  # only here: it may look in the network

        try:
            return pwd.getpwuid(posix.getuid()).pw_dir
        except KeyError:
            return "~"
    return environment["HOME"].rstrip("/") or "/"


def get_exec_path() -> "list[str]":
    """Return the directories in which execvp(3) looks for a program."""
    return environment.get("PATH", defpath).split(":")


def makedirs(name: str, mode: int = 0o777, exist_ok: bool = False) -> None:
    """Create a directory and its missing parents, which have the mode 0777 less the umask."""
    parent = path.dirname(name.rstrip("/"))
    if parent and not path.exists(parent):
        makedirs(parent, exist_ok=True)
    try:
        posix.mkdir(name, mode)
    except OSError:
        if not exist_ok or not path.isdir(name):
            raise


def _named(call: "_Call") -> "_Call":
    def checked(*arguments: "Any", **keywords: "Any") -> "Any":
        try:
            return call(*arguments, **keywords)
        except OSError as error:
            error.filename = call.__name__
            raise

    return checked  # type: ignore[return-value]


def _pidfd_open(pid: int, flags: int = 0) -> int:
    """Return a pidfd. Raises ProcessLookupError also if `pid` is 0, or the number of a thread by now.

    The kernel says EINVAL for both, and since Linux 6.15 ENOENT for a thread: pidfd_open(2).
    """
    try:
        return posix.pidfd_open(pid, flags)
    except OSError as error:
        number = ESRCH if error.errno in (EINVAL, ENOENT) else error.errno
        raise OSError(number, posix.strerror(number or 0), "pidfd_open") from None


dup = _named(posix.dup)
dup2 = _named(posix.dup2)
fchdir = _named(posix.fchdir)
fchmod = _named(posix.fchmod)
fchown = _named(posix.fchown)
fork = _named(posix.fork)
fstat = _named(posix.fstat)
ftruncate = _named(posix.ftruncate)
fsync = _named(posix.fsync)
kill = _named(posix.kill)
lseek = _named(posix.lseek)
memfd_create = _named(posix.memfd_create)
pidfd_open = _pidfd_open
pipe = _named(posix.pipe)
pipe2 = _named(posix.pipe2)
pread = _named(posix.pread)
pwrite = _named(posix.pwrite)
read = _named(posix.read)
sendfile = _named(posix.sendfile)
setgroups = _named(posix.setgroups)
setresgid = _named(posix.setresgid)
setresuid = _named(posix.setresuid)
setsid = _named(posix.setsid)
waitpid = _named(posix.waitpid)
write = _named(posix.write)
