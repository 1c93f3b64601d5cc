"""The user namespaces that give idmapped mounts their mappings (MOUNT_ATTR_IDMAP, mount_setattr(2); Linux 5.12)."""

from foundation.linux import os
from foundation.linux.sched import CLONE_NEWUSER, clone
from pyrun.config.linux import IDMapping
from pyrun.config.node import Node
from pyrun.errors import ConfigError
from pyrun.namespaces.id_maps import map_ids

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.config.linux import Linux
    from pyrun.rootfs.planned_mount import PlannedMount


def open_user_namespace(planned: "PlannedMount", linux: "Linux") -> int:
    """Return a user namespace with the mappings of the bind mount `planned`: its own, or the container's.

    The caller closes it. Must run in the host's user namespace. Raises ConfigError or OSError.
    """
    ranges = planned.options.ranges
    if ranges:
        return _new_user_namespace(_mappings(ranges["uids"], linux.host_uid), _mappings(ranges["gids"], linux.host_gid))
    uids, gids = planned.mappings
    container = linux.namespace("user")
    if not uids and container and container.path:
        return os.open(container.path, os.O_RDONLY | os.O_CLOEXEC)
    return _new_user_namespace(uids or linux.uid_mappings, gids or linux.gid_mappings)


def _mappings(ranges: str, on_host: "Callable[[int], int]") -> "list[IDMapping]":
    """Return crun's "FIRST-SEEN-SIZE#..." as mappings. SEEN is a host id, or after "@" an id of the container."""
    found = []
    for text in ranges.split("#"):
        first, seen, size = map(int, text.lstrip("@").split("-"))
        id_ = on_host(seen) if text.startswith("@") else seen
        if id_ < 0:
            raise ConfigError(f"idmap: {text}: the container's user namespace does not map the id {seen}")
        found.append(IDMapping(Node.root({"containerID": first, "hostID": id_, "size": size}, "idmap")))
    return found


def _new_user_namespace(uid_mappings: "list[IDMapping]", gid_mappings: "list[IDMapping]") -> int:
    """Return a new user namespace with these mappings; its only process ends as soon as the namespace is open."""
    kept, closed = os.pipe2(os.O_CLOEXEC)
    child = clone(CLONE_NEWUSER)
    if child == 0:
        os.close(closed)
        os.read(kept, 1)  # returns when the runtime closes its end or dies
        os._exit(0)
    try:
        map_ids(child, uid_mappings, gid_mappings)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(kept)
        os.close(closed)
        os.waitpid(child, 0)
