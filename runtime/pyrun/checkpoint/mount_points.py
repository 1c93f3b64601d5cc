"""The mount points in a root file system that a container is restored into, which may be a fresh copy.

criu mounts what was mounted and makes no directory for it. So all mounts are gone through once as `create` does it, in
a mount namespace that is given up again: binds are made, since others may lie in them, and an empty tmpfs stands for
the file systems whose content criu brings along.
"""

import os

from pyrun.errors import reason
from pyrun.launch.channel import Channel
from pyrun.linux.sched import CLONE_NEWNS, unshare
from pyrun.rootfs import devices, mounts, root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.plan import Plan


def make_mount_points(plan: "Plan") -> None:
    ours, theirs = Channel.pair()
    child = os.fork()
    if child == 0:
        _run_as_child(plan, theirs)
    theirs.close()
    try:
        ours.hear("made")
    finally:
        ours.close()
        os.waitpid(child, 0)


def _run_as_child(plan: "Plan", channel: Channel) -> None:
    try:
        unshare(CLONE_NEWNS)
        os.umask(0)
        _make(plan)
        channel.say("made")
    except BaseException as error:
        channel.fail(reason(error))
    finally:
        os._exit(0)


def _make(plan: "Plan") -> None:
    tree = root.prepare(plan.root.path, "")
    for planned in plan.root.mounts:
        if planned.options.remounts:
            continue
        if planned.is_bind:
            os.close(mounts.attach(tree, planned))
            continue
        target = mounts.open_mount_point(tree, planned)
        os.close(mounts.attach_to(target, mounts.new_filesystem("tmpfs", "tmpfs", 0, [], [("mode", "755")])))
    if plan.root.makes_devices:
        devices.make_devices(tree, plan.config.linux.devices, bind=False)
    os.close(tree.make_directory(plan.process.cwd))
    if plan.config.root.readonly:
        # Where criu parks the old root; it makes another directory where this one is missing, which it then could not.
        os.close(tree.make_directory("/tmp", 0o1777))
