"""A part of a volume (volume-subpath), opened so that no container that has the volume can have another thing mounted.

A container may put a symlink in the place of any directory of the volume, at any moment (CVE-2017-1002101,
CVE-2021-25741). So the path is followed once, by openat2(2), which does not leave the volume; what this has opened is
mounted by its descriptor.
"""

from errno import EXDEV

from foundation.linux import os
from foundation.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from pyrund.errors import ApiError

_PATH = os.O_PATH | os.O_CLOEXEC


class NoSuchPart(ApiError):
    """The volume has nothing at the path, or nothing of the kind that is wanted."""


def open_inside(folder: str, subpath: str, flags: int = _PATH) -> int:
    """Open `subpath` in the volume whose files are in `folder`; the caller closes it. Relative symlinks are followed as
    long as they stay in the volume. Raises ApiError, in docker's words."""
    try:
        with opened(os.open(folder, _PATH | os.O_DIRECTORY)) as volume:
            return openat2(volume, os.fsencode(subpath), flags, RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS)
    except OSError as error:
        if error.errno == EXDEV:
            where = f"base: {folder}, subpath: {subpath}"
            raise ApiError(400, f"path concatenation escapes the base directory, {where}") from None
        path, why = f"{folder}/{subpath}", (error.strerror or "").lower()  # clients search for Go's words in it
        raise NoSuchPart(404, f"cannot access path {path}: lstat {path}: {why}") from None
