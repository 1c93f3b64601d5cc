"""Without root: a user namespace whose ids are the user's own and those that /etc/subuid and /etc/subgid give him.

Inside it everything goes on as for root, with the ids of the image; outside, the files belong to subordinate ids, and
the bundle's config.json maps them in the same way. Where there are no such ids, one has to do for all.

      pyfetch ----fork----> child: unshare(CLONE_NEWUSER)
                  <- "new" -
      newuidmap, newgidmap
                  - "ok" -> goes on as root of its namespace
      waits, exits as it did

Sources: user_namespaces(7), newuidmap(1), subuid(5).
"""

import os
import pwd
import signal
import subprocess

from pyfetch import linux
from pyfetch.runtime_config import IdMappings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_ENOUGH = 65536  # ids; images use those up to 65534 (nobody)


def mappings() -> IdMappings:
    """Return the ids for this user: his own as root's, then the subordinate ones; only his own if there are too few."""
    uid, gid = os.geteuid(), os.getegid()
    uids, gids = _ranges("/etc/subuid"), _ranges("/etc/subgid")
    if uids and gids and _found("newuidmap") and _found("newgidmap"):
        return IdMappings([(0, uid, 1), *_numbered(uids)], [(0, gid, 1), *_numbered(gids)])
    return IdMappings([(0, uid, 1)], [(0, gid, 1)])


def run_inside(found: IdMappings, action: "Callable[[], int]") -> int:
    """Return what `action` returns when a child does it as root of a user namespace with the ids `found`."""
    ready, new = os.pipe()
    go_on, ok = os.pipe()
    parent = os.getpid()
    child = os.fork()
    if child == 0:
        _run_as_child(action, parent, new, go_on)
    os.close(new)
    os.close(go_on)
    try:
        if os.read(ready, 3) == b"new":
            _map("newuidmap", child, found.uids)
            _map("newgidmap", child, found.gids)
            os.write(ok, b"ok")
    finally:
        os.close(ready)
        os.close(ok)  # the child takes an end without "ok" as an order to stop
        _, status = _wait(child)
    return os.waitstatus_to_exitcode(status) if os.WIFEXITED(status) else 128 + os.WTERMSIG(status)


def _run_as_child(action: "Callable[[], int]", parent: int, new: int, go_on: int) -> None:
    """Never returns to the parent's code."""
    status = 1
    try:
        linux.die_with_parent(signal.SIGKILL)
        if os.getppid() != parent:
            return
        linux.unshare(linux.CLONE_NEWUSER)
        os.write(new, b"new")
        # Closed by the parent in any case; our own copy of its end would keep us waiting.
        if os.read(go_on, 2) == b"ok":
            os.setgid(0)
            os.setuid(0)
            status = action()
    except OSError as error:
        os.write(2, f"pyfetch: error: cannot make a user namespace: {error.strerror}\n".encode())
    finally:
        os._exit(status)


def _map(program: str, child: int, ranges: "list[tuple[int, int, int]]") -> None:
    numbers = [str(number) for inside_outside_size in ranges for number in inside_outside_size]
    subprocess.run([program, str(child), *numbers], check=True)


def _wait(child: int) -> "tuple[int, int]":
    while True:
        try:
            return os.waitpid(child, 0)
        except KeyboardInterrupt:
            continue  # the terminal sends it to the child too, which says so and ends


def _ranges(path: str) -> "list[tuple[int, int]]":
    """Return (first, count) of the user's ranges in /etc/subuid or /etc/subgid, if they are enough for images."""
    try:
        name = pwd.getpwuid(os.geteuid()).pw_name
        with open(path, encoding="utf-8") as file:
            lines = [line.strip().split(":") for line in file]
    except (KeyError, OSError):
        return []  # a user without a name, a system without the file: no ranges
    owners = (name, str(os.geteuid()))
    found = [(int(line[1]), int(line[2])) for line in lines if len(line) == 3 and line[0] in owners]
    return found if sum(count for _, count in found) >= _ENOUGH else []


def _numbered(ranges: "list[tuple[int, int]]") -> "list[tuple[int, int, int]]":
    inside = 1
    result = []
    for first, count in ranges:
        result.append((inside, first, count))
        inside += count
    return result


def _found(program: str) -> bool:
    return any(os.access(os.path.join(folder, program), os.X_OK) for folder in os.get_exec_path())
