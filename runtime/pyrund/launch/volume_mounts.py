"""Volumes that the container gets by descriptor: parts of volumes, and file systems of other machines.

NFS and its like reach their servers through the network of the process that mounts them. A worker does that in the
host's network, because the container's own need not lead to the server.
"""

import _socket

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MOUNT_ATTR_RDONLY,
    OPEN_TREE_CLONE,
    mount_setattr,
    open_tree,
)
from foundation.linux.opened import opened
from pyfetch.bundle.overlay import in_private_mounts
from pyrun.rootfs.mounts import new_filesystem
from pyrun.rootfs.options import MountOptions
from pyrund.errors import ApiError, missing
from pyrund.launch.subpath import open_inside
from pyrund.spec.mounts import of_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.model.container import Container
    from pyrund.spec.mounts import Mount

_BY_ADDRESS = ("nfs", "cifs")  # of their servers dockerd finds the addresses


def sources(container: "Container") -> "dict[tuple[str, str], int]":
    """Return detached mounts of all that the container gets by descriptor, by their source and destination in its
    config.json; the caller closes them. Raises ApiError."""
    entries = [(mount, mount.entry()) for mount in of_container(container) if mount.is_mounted_here]
    if not entries:
        return {}
    # Without root, the engine may mount only in a namespace of its own. What is detached outlives that.
    return in_private_mounts(
        lambda: {(entry["source"], entry["destination"]): detached(mount) for mount, entry in entries}
    )


def detached(mount: "Mount") -> int:
    """Return a detached mount of a bind or a volume, or of the part that `mount` names; the caller closes it.

    Must run in a mount namespace of the engine's own, and in the host's network. Raises ApiError.
    """
    kind, _, options = mount.whole()
    made = _copied(mount) if kind == "bind" else _new(mount)
    if mount.read_only or "ro" in options:
        mount_setattr(made, MOUNT_ATTR_RDONLY, recursive=True)
    return made


def _copied(mount: "Mount") -> int:
    _, source, options = mount.whole()
    flags = OPEN_TREE_CLONE | (AT_RECURSIVE if "rbind" in options else 0)
    if not mount.subpath:
        return open_tree(os.fsencode(source), flags)
    with opened(open_inside(source, mount.subpath)) as part:
        return open_tree(b"", AT_EMPTY_PATH | flags, dirfd=part)


def _new(mount: "Mount") -> int:
    kind, source, words = mount.whole()
    options = MountOptions(words)
    try:
        data = [(key, _resolved(key, value) if kind in _BY_ADDRESS else value) for key, value in options.data]
        return new_filesystem(kind, source, options.attributes[0], options.words(), data)
    except (Error, OSError) as error:
        what = f"mount {source}:{mount.source}, data: {','.join(words)}: {reason(error)}"
        raise ApiError(
            500, f"error while mounting volume '{mount.source}': failed to mount local volume: {what}"
        ) from error


def _resolved(key: str, value: "str | None") -> "str | None":
    """Return the value of an option. That of "addr" is the server, which the kernel takes as a number alone. Raises
    Error."""
    if key != "addr":
        return value
    try:
        return str(_socket.getaddrinfo(value, None, 0, _socket.SOCK_STREAM)[0][4][0])
    except OSError as error:
        raise Error(f"error resolving passed in network volume address: lookup {value}: {error.strerror}") from error


def refuse_checkpoint(container: "Container") -> None:
    """Raise ApiError if the container has such a mount: criu would make it, by a path that it follows itself."""
    mounts = [mount for mount in of_container(container) if mount.is_mounted_here]
    if mounts:
        what = (
            "a part of a volume (volume-subpath)" if mounts[0].subpath else f"a volume of type {mounts[0].whole()[0]}"
        )
        raise missing(f"a checkpoint of {container.name}, which has {what}")
