"""Why the program of a created container could not be executed: `start` looks at what is really in there.

create looked already; this is for what has changed since, and for what only execve(2) could tell. The init has ended by
now, so there is no pid namespace in which an interpreter would be seen.
"""

import errno
import os

from pyrun.errors import Error, reason
from pyrun.launch.channel import Channel
from pyrun.launch.departure import seal_imports
from pyrun.launch.program import not_executable, problem
from pyrun.linux.prctl import PR_SET_DUMPABLE, prctl
from pyrun.linux.sched import CLONE_NEWNS, setns

_EXEC = "exec "  # how the label of the last mile's row for execve begins (program.py)


def explain(failure: OSError, mounts: int, root: int) -> Exception:
    """Return `failure`, a report of the last mile, with its cause where one is found in the container's files."""
    label = str(failure.filename or "")
    if not label.startswith(_EXEC + "/") or failure.errno not in (errno.ENOENT, errno.EACCES, errno.ENOEXEC):
        return failure
    ours, theirs = Channel.pair()
    child = os.fork()
    if child == 0:
        _run_as_child(os.fsencode(label[len(_EXEC) :]), mounts, root, theirs)
    theirs.close()
    try:
        ours.hear("nothing found")
    except Error as cause:
        return Error(f"{reason(failure)}: {cause}")
    finally:
        os.waitpid(child, 0)
    return failure


def _run_as_child(path: bytes, mounts: int, root: int, channel: Channel) -> None:
    try:
        prctl(PR_SET_DUMPABLE, 0)
        seal_imports()
        setns(mounts, CLONE_NEWNS)
        os.fchdir(root)
        os.chroot(".")
        cause = _cause(path)
        if cause:
            channel.fail(cause)
        else:
            channel.say("nothing found")
    except OSError:
        channel.say("nothing found")  # the first error is the one that the caller needs
    finally:
        os._exit(0)


def _cause(path: bytes) -> str:
    if not os.path.exists(path):
        return "it was there when the container was created"
    found = not_executable(path, "it") or problem(path, binfmt=False)
    return found[1] if found else ""
