"""A cgroup and all cgroups below it, which the container may have made.

A container that may make cgroups can nest them deeper than the limits of path length, open files and recursion.  Its
processes must not be able to hide there from `kill`, so the walk goes down and up with one descriptor at a time.
"""

from errno import EBUSY, EOPNOTSUPP

from foundation.linux import os, whole_file
from foundation.linux.opened import become
from pyrun.cgroup.controller import is_gone

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator


def tree(directory: str) -> "Iterator[tuple[str, str]]":
    """Yield the cgroups below `directory`, children before parents, and then itself, as (path, "/its/place/below").

    `path` is a /proc/self/fd path that is valid until the next item; /proc must be the host's.
    """
    fd = _open(directory)
    if fd is None:
        return
    names: list[str] = []
    waiting = [_children(fd)]
    try:
        while waiting:
            if waiting[-1]:
                name = waiting[-1].pop()
                child = _open(name, fd)
                if child is not None:
                    become(fd, child)
                    names.append(name)
                    waiting.append(_children(fd))
                continue
            yield f"/proc/self/fd/{fd}", "".join(f"/{name}" for name in names)
            waiting.pop()
            if waiting:
                become(fd, os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd))
                names.pop()
    finally:
        os.close(fd)


def _open(name: str, parent: "int | None" = None) -> "int | None":
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except OSError as error:
        if is_gone(error) or isinstance(error, NotADirectoryError):
            return None  # NotADirectoryError: a file of the parent cgroup has that name, so it cannot be a cgroup
        raise


def _children(fd: int) -> "list[str]":
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except OSError as error:
        if is_gone(error):
            return []
        raise


def processes_in(directory: str) -> "list[int]":
    """Return the pids in the cgroup `directory` itself; none if it has been removed."""
    for name in ("cgroup.procs", "cgroup.threads"):
        try:
            found = map(int, whole_file.read(f"{directory}/{name}").split())
            pids = found if name == "cgroup.procs" else map(_process_of, found)
            return list(dict.fromkeys(pid for pid in pids if pid))  # 0: in another pid namespace
        except OSError as error:
            if is_gone(error):
                break  # removed meanwhile
            if error.errno != EOPNOTSUPP or name == "cgroup.threads":
                raise  # EOPNOTSUPP: a threaded cgroup lists threads only
    return []


def _process_of(thread: int) -> int:
    """Return the pid of the process that a thread belongs to, 0 if it has ended."""
    try:
        status = whole_file.read(f"/proc/{thread}/status")
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return int(status.partition(b"\nTgid:")[2].split(None, 1)[0])


def remove_tree(directory: str) -> bool:
    """Remove all cgroups that are not busy, at and below `directory`; return whether nothing is left."""
    if _rmdir(directory):
        return True
    for cgroup, below in tree(directory):
        if below:
            _rmdir(f"{cgroup}/../{os.path.basename(below)}")
    return _rmdir(directory)


def _rmdir(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except OSError as error:
        if is_gone(error) or isinstance(error, NotADirectoryError):
            return True
        if error.errno != EBUSY:
            raise
        return False
    return True
