"""Without root: a user namespace with the user's own ids and the subordinate ids of /etc/subuid and /etc/subgid.

Inside, the code runs as for root, with the image's ids. Outside, the files belong to subordinate ids, and the bundle's
config.json has the same mappings. If the user has no subordinate ids, his own id stands for all.

      pyfetch ----fork----> child: unshare(CLONE_NEWUSER)
                  <- "new" -
      newuidmap, newgidmap
                  - "ok" -> goes on as root of its namespace
      waits, exits as it did

Sources: user_namespaces(7), newuidmap(1), subuid(5).
"""

import signal
import subprocess

from foundation.errors import Error, one_line, reason
from foundation.linux import os
from foundation.linux.prctl import end_with
from foundation.linux.sched import CLONE_NEWUSER, unshare
from foundation.linux.subid import ranges
from foundation.linux.whole_file import to_standard_error, write_all
from pyfetch.bundle.runtime_config import IdMappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ENOUGH = 65536  # ids; images use those up to 65534 (nobody)


def mappings() -> IdMappings:
    """Return the mappings: the user's own ids as root's, then the subordinate ids, unless there are too few."""
    uid, gid = os.geteuid(), os.getegid()
    uids, gids = ranges("/etc/subuid"), ranges("/etc/subgid")
    if _are_enough(uids) and _are_enough(gids) and _found("newuidmap") and _found("newgidmap"):
        return IdMappings([(0, uid, 1), *_numbered(uids)], [(0, gid, 1), *_numbered(gids)])
    return IdMappings([(0, uid, 1)], [(0, gid, 1)])


def run_inside(found: IdMappings, action: "Callable[[], int]") -> int:
    """Call `action` in a child that is root of a user namespace with the ids `found`; return its exit status."""
    ready, new = os.pipe()
    go_on, ok = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        os.close(ok)  # otherwise the read below would never see end-of-file
        _run_as_child(action, parent, new, go_on)
    os.close(new)
    os.close(go_on)
    try:
        if os.read(ready, 3) == b"new":
            _map("newuidmap", child, found.uids)
            _map("newgidmap", child, found.gids)
            write_all(ok, b"ok")
    finally:
        os.close(ready)
        os.close(ok)  # without "ok" before end-of-file the child stops
        _, status = _wait(child)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _run_as_child(action: "Callable[[], int]", parent: int, new: int, go_on: int) -> None:
    """Run the child's part; never return."""
    status = 1
    try:
        end_with(parent, signal.SIGKILL)
        unshare(CLONE_NEWUSER)
        write_all(new, b"new")
        if os.read(go_on, 2) == b"ok":
            os.setgid(0)
            os.setuid(0)
            status = action()
    except OSError as error:
        to_standard_error(f"pyfetch: error: cannot make a user namespace: {reason(error)}\n")
    finally:
        os._exit(status)


def _map(program: str, child: int, wanted: "list[tuple[int, int, int]]") -> None:
    numbers = [str(number) for mapping in wanted for number in mapping]
    done = subprocess.run([program, str(child), *numbers], stderr=subprocess.PIPE)
    if done.returncode != 0:
        raise Error(f"{program}: {one_line(done.stderr.decode('utf-8', 'replace')) or 'failed'}")


def _wait(child: int) -> "tuple[int, int]":
    while True:
        try:
            return os.waitpid(child, 0)
        except KeyboardInterrupt as interrupt:
            os.kill(child, interrupt.args[0])  # ignored if a terminal has signalled it already; it reports and ends


def _are_enough(found: "list[tuple[int, int]]") -> bool:
    return sum(count for _, count in found) >= _ENOUGH


def _numbered(found: "list[tuple[int, int]]") -> "list[tuple[int, int, int]]":
    inside = 1
    result = []
    for first, count in found:
        result.append((inside, first, count))
        inside += count
    return result


def _found(program: str) -> bool:
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in os.get_exec_path())
