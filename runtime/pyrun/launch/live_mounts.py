"""Mounts of a container that runs: pyrun mount and umount.

      runtime                          child
      open the source, detached
      fork ──────────────────────────▶ become undumpable
                                       join the mount namespace, and no other
                                       resolve the destination below the init's root, attach the source to it
                         ◀── "done"    exit

The child stays out of the pid namespace: nobody in the container sees an interpreter. Its root directory becomes the
container's, so no path but one below the init's root, which is open, means anything to it; /proc/self is open from
before.
"""

import _signal
import os
import stat

from pyrun.container.state import Container, load, open_process
from pyrun.errors import Error, reason
from pyrun.launch.channel import Channel
from pyrun.launch.departure import seal_imports
from pyrun.linux.mount import MNT_DETACH, MS_SLAVE, mount_setattr, move_mount, umount2
from pyrun.linux.prctl import PR_SET_DUMPABLE, prctl, set_filesystem_ids
from pyrun.linux.sched import CLONE_NEWNS, setns
from pyrun.rootfs.mounts import PROC_FILES, PlannedMount, change_attributes, describe, open_source, propagate
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

_PATH = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
_PROCFS_ROOT = 1  # the inode number of its root, fs/proc/root.c


def mount(container: Container, planned: PlannedMount) -> None:
    """Bind the source of `planned`, a path of the host, to its destination in the container."""
    fd = _open(container, planned)
    is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)

    def attach(tree: Tree, proc: int) -> None:
        target = _open_mount_point(tree, planned, is_directory)
        move_mount(fd, target)
        propagate(fd, planned.options)

    def work(container: Container) -> None:
        # Before it is there, lest a mount that nobody may unmount is left when we are killed between.
        container.mounts.append((planned.destination, _mount_id(os.open("/proc/self", _PATH), fd)))
        container.save()
        try:
            _in_mount_namespace(container, attach)
        except (Error, OSError) as error:
            container.mounts.pop()
            container.save()
            raise Error(f"{describe(planned)}: {reason(error)}") from error

    _locked(container, work)


def umount(container: Container, destination: str) -> None:
    """Take away what mount() has mounted at `destination`.

    And nothing else: the container may have put a symlink there, to what one of its masks hides.
    """

    def work(container: Container) -> None:
        ids = [id_ for path, id_ in container.mounts if path == destination]
        if not ids:
            there = " ".join(path for path, _ in container.mounts) or "nothing"
            raise Error(f"{destination}: is not a mount of `pyrun mount`, which has mounted {there}")
        _in_mount_namespace(container, lambda tree, proc: _detach(tree, proc, destination, ids[-1]))
        container.mounts.remove((destination, ids[-1]))
        container.save()

    _locked(container, work)


def _open(container: Container, planned: PlannedMount) -> int:
    """Return a detached copy of the source with the attributes that it shall have."""
    if planned.is_mapped:
        from pyrun.launch.idmap import open_mapped
        from pyrun.spec.config import load_config

        fd = open_mapped(planned, load_config(container.config_file).linux)
    else:
        fd = open_source(planned)
        # A copy of a shared mount is its peer: what is mounted below it in the container would appear on the host.
        mount_setattr(fd, propagation=MS_SLAVE, recursive=True)
    change_attributes(fd, *planned.options.attributes)
    change_attributes(fd, *planned.options.recursive, recursive=True)
    return fd


def _locked(container: Container, work: "Callable[[Container], None]") -> None:
    """Call `work` with the container as it is when nobody else changes it."""
    lock = container.lock()
    try:
        work(load(os.path.dirname(container.directory), container.id))
    finally:
        os.close(lock)


def _in_mount_namespace(container: Container, work: "Callable[[Tree, int], None]") -> None:
    """Call `work` with the container's root and our /proc/self, in a child that is in its mount namespace."""
    pidfd = open_process(container.pid, container.start_time)
    if pidfd < 0:
        raise Error("container not running")
    root = os.open(f"/proc/{container.pid}/root", _PATH)
    owner = _mapped_root(container.pid)
    try:
        _signal.pidfd_send_signal(pidfd, 0)  # lives still, so these were not another's with the same pid
    except ProcessLookupError:
        raise Error("container not running") from None
    ours, theirs = Channel.pair()
    child = os.fork()
    if child == 0:
        _run_as_child(pidfd, owner, theirs, lambda proc: work(Tree(root), proc))
    theirs.close()
    try:
        ours.hear("done")
    finally:
        os.waitpid(child, 0)
        for fd in (pidfd, root):
            os.close(fd)


def _run_as_child(pidfd: int, owner: "tuple[int, int]", channel: Channel, work: "Callable[[int], None]") -> None:
    try:
        prctl(PR_SET_DUMPABLE, 0)  # before it joins: nobody in there may look into this process (CVE-2016-9962)
        proc = os.open("/proc/self", _PATH)
        seal_imports()
        setns(pidfd, CLONE_NEWNS)
        if owner != (0, 0):
            set_filesystem_ids(*owner)  # mount points that are made belong to the container's root
        work(proc)
        channel.say("done")
    except BaseException as error:
        channel.fail(reason(error))
    finally:
        os._exit(0)


def _mapped_root(pid: int) -> "tuple[int, int]":
    """Return (uid, gid) on the host of the root in the user namespace of the process `pid`."""
    found = [0, 0]
    for index, name in enumerate(("uid_map", "gid_map")):
        with open(f"/proc/{pid}/{name}", "rb") as file:
            for line in file:
                inside, outside, _ = map(int, line.split())
                if inside == 0:
                    found[index] = outside
    return found[0], found[1]


def _open_mount_point(tree: Tree, planned: PlannedMount, is_directory: bool) -> int:
    """Open the destination, made where it is missing; procfs takes only what config.json may put there."""
    target = tree.make_directory(planned.destination) if is_directory else tree.make_file(planned.destination)
    if planned.destination not in PROC_FILES and os.fstat(target).st_dev == _procfs_device(tree):
        raise Error("the destination is in /proc")
    return target


def _procfs_device(tree: Tree) -> int:
    """Return the device number of the container's /proc, -1 where that is none."""
    try:
        fd = tree.open("/proc")
    except OSError:
        return -1  # it has none
    found = os.fstat(fd)
    os.close(fd)
    return found.st_dev if found.st_ino == _PROCFS_ROOT else -1


def _detach(tree: Tree, proc: int, destination: str, id_: int) -> None:
    target = tree.open(destination)
    if _mount_id(proc, target) != id_:
        raise Error(f"{destination}: is not what `pyrun mount` has mounted: the container has moved or covered that")
    os.fchdir(proc)
    umount2(b"fd/%d" % target, MNT_DETACH)  # detach, because the descriptor makes it busy


def _mount_id(proc: int, fd: int) -> int:
    """Return the number of the mount that `fd` is in; `proc` is this process's directory in the host's procfs."""
    with open(os.open(f"fdinfo/{fd}", os.O_RDONLY | os.O_CLOEXEC, dir_fd=proc), "rb") as file:
        for line in file:
            if line.startswith(b"mnt_id:"):
                return int(line.split()[1])
    raise Error("/proc/self/fdinfo does not tell the mount of a descriptor")
