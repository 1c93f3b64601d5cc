"""A worker that measures what is in folders, such as what containers have written."""

import stat

from foundation.linux import os
from foundation.linux.openat2 import openat2
from foundation.linux.opened import opened
from pyrund.archive.changes import BELOW, LOOK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Return the bytes in each of `folders`, 0 for one that is not there."""
    return {"bytes": [_size_of(folder) for folder in message["folders"]]}


def _size_of(folder: str) -> int:
    try:
        return size_of(folder)
    except FileNotFoundError:
        return 0  # nothing was written, or it has been removed meanwhile


def size_of(folder: str) -> int:
    """Return the bytes of all files below `folder`, each counted once. What is removed meanwhile does not count.

    A container may put a link in place of a directory while we look: no link is followed.
    """
    seen, total, pending = set(), 0, [b""]
    with opened(os.open(folder, LOOK | os.O_DIRECTORY)) as top:
        while pending:
            above = pending.pop()
            try:
                directory = openat2(top, above or b".", os.O_RDONLY | os.O_DIRECTORY, BELOW)
            except OSError:
                continue  # it is gone, or something else is there now
            with opened(directory):
                for name in map(os.fsencode, os.listdir(directory)):
                    try:
                        found = os.stat(name, dir_fd=directory, follow_symlinks=False)
                    except FileNotFoundError:
                        continue
                    if stat.S_ISDIR(found.st_mode):
                        pending.append(above + b"/" + name if above else name)
                    elif (found.st_dev, found.st_ino) not in seen:
                        seen.add((found.st_dev, found.st_ino))
                        total += found.st_size
    return total
