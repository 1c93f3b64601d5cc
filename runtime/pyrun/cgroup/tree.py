"""A cgroup with all that are below it, which may be the container's own work.

A container that may make cgroups can nest them deeper than a path can be long, or than we may have files open or calls
on the stack.  It must not hide there from `kill`, so the way down and up again is by descriptor, one at a time.
"""

import os
from errno import EBUSY, ENODEV, ENOENT, EOPNOTSUPP

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterator


def tree(directory: str) -> "Iterator[tuple[str, str]]":
    """Yield the cgroups below `directory`, the deepest first, and then itself: a path to reach it by, "/and/its/place".

    The path is that of a descriptor, and good until the next one.
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
                    os.close(fd)
                    fd = child
                    names.append(name)
                    waiting.append(_children(fd))
                continue
            yield f"/proc/self/fd/{fd}", "".join(f"/{name}" for name in names)
            waiting.pop()
            if waiting:
                parent = os.open("..", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=fd)
                os.close(fd)
                fd = parent
                names.pop()
    finally:
        os.close(fd)


def _open(name: str, parent: "int | None" = None) -> "int | None":
    try:
        return os.open(name, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
    except (FileNotFoundError, NotADirectoryError):
        return None  # removed meanwhile, or never made: a file of the cgroup above has that name


def _children(fd: int) -> "list[str]":
    try:
        with os.scandir(fd) as entries:
            return [entry.name for entry in entries if entry.is_dir(follow_symlinks=False)]
    except FileNotFoundError:
        return []  # removed meanwhile


def processes_in(directory: str) -> "list[int]":
    """Return the pids in the one cgroup `directory`; none where it has gone."""
    for name in ("cgroup.procs", "cgroup.threads"):
        try:
            with open(f"{directory}/{name}") as file:
                return [int(line) for line in file if line != "0\n"]  # 0: of another pid namespace
        except OSError as error:
            if error.errno in (ENOENT, ENODEV):
                break  # removed meanwhile
            if error.errno != EOPNOTSUPP or name == "cgroup.threads":
                raise  # EOPNOTSUPP: a threaded cgroup lists threads only
    return []


def remove_tree(directory: str) -> bool:
    """Remove what can be removed now; tell whether that was all."""
    if _rmdir(directory):
        return True
    for cgroup, below in tree(directory):
        if below:
            _rmdir(f"{cgroup}/../{os.path.basename(below)}")
    return _rmdir(directory)


def _rmdir(directory: str) -> bool:
    try:
        os.rmdir(directory)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError as error:
        if error.errno != EBUSY:
            raise
        return False
    return True
