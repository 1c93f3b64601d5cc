"""A worker that gives a client files of a container as a tar archive, or tells what is at a path."""

import base64
import json
import stat

from foundation.linux import os
from foundation.linux.openat2 import openat2
from foundation.linux.opened import opened
from foundation.linux.statfs import (
    CGROUP2_SUPER_MAGIC,
    CGROUP_SUPER_MAGIC,
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    file_system_type,
)
from pyrund.archive.writer import END, Archive
from pyrund.errors import ApiError
from pyrund.launch.answer import Answer
from pyrund.launch.view import INSIDE, clean, find, go_mode, with_root
from pyrund.model.container import existing
from pyrund.model.times import rfc3339

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrund.messages import Message, Port
    from pyrund.places import Places

_MOST_LINKS = 40
_TAR = "application/x-tar"
STAT = "X-Docker-Container-Path-Stat"


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Answer the request on the connection `descriptors[0]`; without one, return the header that tells of `path`.

    Raises ApiError if no response has begun.
    """
    container = existing(places, message["id"])
    path, name = message["path"], message["name"]

    def look(root: int) -> "Message":
        above, last = find(root, path, name)
        with opened(above):
            described = _described(root, above, last, path, name)
            if descriptors:
                parts = _Seen(root).members(above, last, _shown(path, above, last))
                try:
                    start = next(parts, b"")
                except OSError as error:
                    why = f"Could not read the file {path} in container {name}: {error.strerror}"
                    raise ApiError(404, why) from error
                _send(descriptors[0], described, start, parts)
        return {"stat": described}

    return with_root(container, message["runs"], False, look)


def _send(client: int, described: str, start: bytes, parts: "Iterator[bytes]") -> None:
    answer = Answer(client)
    answer.begin({"Content-Type": _TAR, STAT: described})
    answer.write(start)
    for part in parts:
        answer.write(part)
    answer.write(END)
    answer.end()


_OF_THE_KERNEL = (PROC_SUPER_MAGIC, SYSFS_MAGIC, CGROUP_SUPER_MAGIC, CGROUP2_SUPER_MAGIC)


class _Seen(Archive):
    """An archive of what programs see, which changes and vanishes under way: what cannot be read is passed over.

    What the kernel and the runtime show (/proc, /sys, /dev) are empty directories in it, as with dockerd, unless the
    client asks for something in them.
    """

    def __init__(self, root: int) -> None:
        super().__init__(in_seconds=True)
        self._has_begun = False
        try:
            self._devices = os.stat(b"dev", dir_fd=root, follow_symlinks=False).st_dev
        except OSError:
            self._devices = 0  # the image has none, and the container does not run

    def member(self, file: int, shown: bytes) -> "Iterator[bytes]":
        parts = super().member(file, shown)
        try:
            start = next(parts, b"")
        except OSError:
            if not self._has_begun:
                raise
            return
        self._has_begun = True
        yield start
        yield from parts

    def enters(self, file: int, above: int) -> bool:
        try:
            here, device = os.fstat(file).st_dev, os.fstat(above).st_dev
            is_shown = here != device and (here == self._devices or file_system_type(file) in _OF_THE_KERNEL)
            return super().enters(file, above) and not is_shown
        except OSError:
            return False

    def names(self, directory: int) -> "list[bytes]":
        try:
            return super().names(directory)
        except OSError:
            return []


def _shown(path: str, above: int, last: bytes) -> bytes:
    """Return the name in the archive: what the client calls a directory, or how a file is called."""
    if last != b".":
        return last
    if path.endswith("/."):
        return b"."
    return os.fsencode(os.path.basename(clean(path)))


def _described(root: int, above: int, last: bytes, path: str, name: str) -> str:
    """Return the header's value: JSON in base64."""
    found = os.stat(last, dir_fd=above, follow_symlinks=False)
    document = {
        "name": os.path.basename(clean(path)) or "/",
        "size": found.st_size,
        "mode": go_mode(found.st_mode),
        "mtime": rfc3339(found.st_mtime_ns),
        "linkTarget": _target(root, path) if stat.S_ISLNK(found.st_mode) else "",
    }
    return base64.b64encode(json.dumps(document).encode("utf-8", "surrogateescape")).decode()


def _target(root: int, path: str) -> str:
    """Return the path at the end of a chain of links; clients ask for that next, and it is resolved again then."""
    here = clean(path)
    for _ in range(_MOST_LINKS):
        above, last = os.path.split(here)
        try:
            with opened(openat2(root, os.fsencode(above.lstrip("/")) or b".", os.O_PATH, INSIDE)) as directory:
                text = os.fsdecode(os.readlink(os.fsencode(last) or b".", dir_fd=directory))
        except OSError:
            break  # not a link, or there is nothing
        here = clean(os.path.join(above, text))
    return here
