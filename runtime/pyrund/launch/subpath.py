"""A part of a volume (volume-subpath), opened so that no container that has the volume can have another thing mounted.

A container may put a symlink in the place of any directory of the volume, at any moment (CVE-2017-1002101,
CVE-2021-25741). So the path is followed once, by openat2(2), which does not leave the volume; what this has opened is
mounted by its descriptor.
"""

from errno import EXDEV

from foundation.linux import os
from foundation.linux.mount import AT_EMPTY_PATH, AT_RECURSIVE, OPEN_TREE_CLONE, open_tree
from foundation.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, openat2
from foundation.linux.opened import opened
from pyfetch.bundle.overlay import in_private_mounts
from pyrund.errors import ApiError, missing
from pyrund.spec.mounts import of_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.model.container import Container
    from pyrund.spec.mounts import Mount

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


def detached(mount: "Mount") -> int:
    """Return a detached mount of the part of a volume that `mount` names; the caller closes it. Must run in a mount
    namespace of the engine's own. Raises ApiError."""
    _, folder, options = mount.whole()
    flags = AT_EMPTY_PATH | OPEN_TREE_CLONE | (AT_RECURSIVE if "rbind" in options else 0)
    with opened(open_inside(folder, mount.subpath)) as part:
        return open_tree(b"", flags, dirfd=part)


def sources(container: "Container") -> "dict[tuple[str, str], int]":
    """Return detached mounts of all parts of volumes that the container has, by their source and destination in its
    config.json; the caller closes them. Raises ApiError."""
    entries = [(mount, mount.entry()) for mount in of_container(container) if mount.subpath]
    if not entries:
        return {}
    # Without root, the engine may mount only in a namespace of its own. What is detached outlives that.
    return in_private_mounts(
        lambda: {(entry["source"], entry["destination"]): detached(mount) for mount, entry in entries}
    )


def refuse_checkpoint(container: "Container") -> None:
    """Raise ApiError if the container has a part of a volume: criu would mount it by a path that it follows itself."""
    if any(mount.subpath for mount in of_container(container)):
        raise missing(f"a checkpoint of {container.name}, which has a part of a volume (volume-subpath)")
