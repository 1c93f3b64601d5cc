"""Mounts in a running container: pyrun mount and umount; and what an engine takes out of one for another.

      runtime                          child
      open the source, detached
      fork ──────────────────────────▶ become undumpable
                                       join only the mount namespace
                                       resolve the destination below the init's root, attach the source to it
                         ◀── "done"    exit

The child stays out of the pid namespace, so no process of the container can see the interpreter. In the mount namespace
no path can be trusted: the child uses only paths below the init's root, and its own /proc/self, both opened before.
"""

import _signal
import _stat as stat

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    MNT_DETACH,
    MS_SLAVE,
    OPEN_TREE_CLONE,
    mount_setattr,
    move_mount,
    open_tree,
    umount2,
)
from foundation.linux.opened import opened
from foundation.linux.prctl import PR_SET_DUMPABLE, prctl, set_filesystem_ids
from foundation.linux.sched import CLONE_NEWNS, setns
from pyrun.container.process import open_process
from pyrun.container.state import Container
from pyrun.namespaces.id_maps import outside
from pyrun.rootfs.host import open_source
from pyrun.rootfs.mounts import change_all_attributes, propagate
from pyrun.rootfs.planned_mount import PROC_FILES, PlannedMount, describe
from pyrun.rootfs.tree import Tree
from pyrun.stub.channel import Channel
from pyrun.stub.child import Child
from pyrun.stub.departure import seal_imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PROCFS_ROOT = 1  # the inode number of its root, fs/proc/root.c


def mount(container: Container, planned: PlannedMount) -> None:
    """Bind the source of `planned`, a path of the host, to its destination in the container. Raises Error, OSError."""
    with opened(_open(container, planned)) as fd, container.locked() as container:
        is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)

        def attach(tree: Tree, proc: int) -> None:
            target = _open_mount_point(tree, planned, is_directory)
            move_mount(fd, target)
            propagate(fd, planned.options)

        with opened(os.open("/proc/self", _PATH)) as proc:
            id_ = _mount_id(proc, fd)
        # Save the state before the mount is made: if we are killed in between, `pyrun umount` can still remove it.
        container.mounts.append((planned.destination, id_))
        container.save()
        try:
            _in_mount_namespace(container, attach)
        except (Error, OSError) as error:
            container.mounts.pop()
            container.save()
            raise Error(f"{describe(planned)}: {reason(error)}") from error


def umount(container: Container, destination: str) -> None:
    """Unmount the mount that mount() made at `destination`. Raises Error if there is none.

    Nothing else is unmounted: the container may have put a symlink there that leads to a mask of /proc.
    """
    with container.locked() as container:
        ids = [id_ for path, id_ in container.mounts if path == destination]
        if not ids:
            there = " ".join(path for path, _ in container.mounts) or "nothing"
            raise Error(f"{destination}: is not a mount of `pyrun mount`, which has mounted {there}")
        _in_mount_namespace(container, lambda tree, proc: _detach(tree, proc, destination, ids[-1]))
        container.mounts.remove((destination, ids[-1]))
        container.save()


def detached(container: Container, path: str) -> int:
    """Return a detached copy of what is mounted at `path` in the running container; the caller closes it. Raises Error
    and OSError."""

    def copy(tree: Tree, proc: int) -> "list[int]":
        with opened(tree.open(path)) as fd:
            return [open_tree(b"", AT_EMPTY_PATH | AT_RECURSIVE | OPEN_TREE_CLONE, dirfd=fd)]

    (fd,) = _in_mount_namespace(container, copy)
    return fd


def _open(container: Container, planned: PlannedMount) -> int:
    """Return a detached copy of the source with the attributes of `planned`."""
    user_namespace = -1
    if planned.is_mapped:
        from pyrun.config.document import load_config  # few mounts are mapped
        from pyrun.namespaces.idmapped_mounts import open_user_namespace

        user_namespace = open_user_namespace(planned, load_config(container.config_file).linux)
    fd = open_source(planned, user_namespace)
    # The copy of a shared mount is its peer (mount_namespaces(7)): mounts below it would propagate to the host.
    mount_setattr(fd, propagation=MS_SLAVE, recursive=True)
    change_all_attributes(fd, planned.options)
    return fd


def _in_mount_namespace(container: Container, work: "Callable[[Tree, int], list[int] | None]") -> "list[int]":
    """Call `work` in a child in the container's mount namespace, with the init's root and the child's /proc/self;
    return the descriptors that it returns."""
    pidfd = open_process(container.pid, container.start_time)
    if pidfd < 0:
        raise Error("container not running")
    with opened(pidfd), opened(os.open(f"/proc/{container.pid}/root", _PATH)) as root:
        owner = outside(container.pid, 0, 0)
        try:
            _signal.pidfd_send_signal(pidfd, 0)  # lives still, so these were not another's with the same pid
        except ProcessLookupError:
            raise Error("container not running") from None

        def join(channel: Channel) -> None:
            prctl(PR_SET_DUMPABLE, 0)  # before setns: no process of the container may look into this (CVE-2016-9962)
            proc = os.open("/proc/self", _PATH)
            seal_imports()
            setns(pidfd, CLONE_NEWNS)
            if owner != (0, 0):
                set_filesystem_ids(*owner)  # mount points that we make belong to the container's root
            channel.say("done", work(Tree(root), proc))

        with Child(join) as channel:
            return channel.hear("done").descriptors


def _open_mount_point(tree: Tree, planned: PlannedMount, is_directory: bool) -> int:
    """Open the destination; make it if it is missing. Raises Error if it is a file of /proc not in PROC_FILES."""
    target = tree.make_directory(planned.destination) if is_directory else tree.make_file(planned.destination)
    if planned.destination not in PROC_FILES and os.fstat(target).st_dev == _procfs_device(tree):
        raise Error("the destination is in /proc")
    return target


def _procfs_device(tree: Tree) -> int:
    """Return the device number of the procfs at the container's /proc, or -1 if there is none."""
    try:
        fd = tree.open("/proc")
    except OSError:
        return -1  # the container has no /proc
    found = os.fstat(fd)
    os.close(fd)
    return found.st_dev if found.st_ino == _PROCFS_ROOT else -1


def _detach(tree: Tree, proc: int, destination: str, id_: int) -> None:
    target = tree.open(destination)
    if _mount_id(proc, target) != id_:
        raise Error(f"{destination}: is not what `pyrun mount` has mounted: the container has moved or covered it")
    os.fchdir(proc)
    umount2(b"fd/%d" % target, MNT_DETACH)  # MNT_DETACH, because our descriptor makes the mount busy


def _mount_id(proc: int, fd: int) -> int:
    """Return the id of the mount that `fd` is in (proc(5)); `proc` is this process's directory in the host's procfs."""
    with open(os.open(f"fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    raise Error("/proc/self/fdinfo does not show the mount of a descriptor")
