"""Mounts with ids of their own (mount_setattr(2), MOUNT_ATTR_IDMAP; Linux 5.12).

The runtime makes them, detached, and the init attaches them: the kernel asks for CAP_SYS_ADMIN where the file system
was mounted, which a container with a user namespace does not have.
"""

import os
from errno import EINVAL, EPERM

from pyrun.errors import Error
from pyrun.launch.namespaces import map_ids
from pyrun.linux.mount import MOUNT_ATTR_IDMAP, MS_SLAVE, mount_setattr
from pyrun.linux.sched import CLONE_NEWUSER, clone
from pyrun.rootfs.mounts import describe, open_source

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.mounts import PlannedMount
    from pyrun.spec.linux import IDMapping, Linux

# mount_setattr(2), ERRORS
_REASONS = {EPERM: "it needs root, and a source without mappings", EINVAL: "its file system has no such thing"}


def open_mapped(planned: "PlannedMount", linux: "Linux") -> int:
    """Return a detached copy of the source of the bind `planned`, with the mount's own mappings or the container's."""
    fd = open_source(planned)
    # A copy of a shared mount is its peer: what is mounted below it in the container would appear on the host.
    mount_setattr(fd, propagation=MS_SLAVE, recursive=True)
    user_namespace = _user_namespace(planned, linux)
    try:
        mount_setattr(fd, MOUNT_ATTR_IDMAP, recursive=bool(planned.options.idmap), userns_fd=user_namespace)
    except OSError as error:
        reason = _REASONS.get(error.errno or 0, error.strerror)
        raise Error(f"{describe(planned)}: cannot map its ids: {reason}") from error
    finally:
        os.close(user_namespace)
    return fd


def _user_namespace(planned: "PlannedMount", linux: "Linux") -> int:
    uids, gids = planned.mappings
    container = linux.namespace("user")
    if not uids and container and container.path:
        return os.open(container.path, os.O_RDONLY | os.O_CLOEXEC)
    return _new_user_namespace(uids or linux.uid_mappings, gids or linux.gid_mappings)


def _new_user_namespace(uid_mappings: "list[IDMapping]", gid_mappings: "list[IDMapping]") -> int:
    """Return a user namespace with these ids; it needs a process only until it is open."""
    kept, closed = os.pipe2(os.O_CLOEXEC)
    child = clone(CLONE_NEWUSER)
    if child == 0:
        os.close(closed)
        os.read(kept, 1)  # returns when the runtime closes its end, or has died
        os._exit(0)
    try:
        map_ids(child, uid_mappings, gid_mappings)
        return os.open(f"/proc/{child}/ns/user", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(kept)
        os.close(closed)
        os.waitpid(child, 0)
