"""The mount points in the root file system of a container to restore, which may be a fresh copy.

criu restores mounts, but does not create directories for them. So a child makes all mounts once, like `create`, in a
temporary mount namespace: binds are really made, since other mounts may lie in them, and an empty tmpfs stands for
file systems whose content criu restores.
"""

from foundation.linux import os
from foundation.linux.sched import CLONE_NEWNS, unshare
from pyrun.rootfs import devices, mounts, root
from pyrun.rootfs.host import Host
from pyrun.stub.channel import Channel
from pyrun.stub.child import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.plan import Plan


def make_mount_points(plan: "Plan") -> None:
    """Create the missing mount points on the host. Raises Error with the reason of the child."""

    def make(channel: Channel) -> None:
        unshare(CLONE_NEWNS)
        os.umask(0)
        _make(plan)
        channel.say("made")

    with Child(make) as channel:
        channel.hear("made")


def _make(plan: "Plan") -> None:
    host = Host()
    tree = root.prepare(plan.root.path, "", host)
    for planned in plan.root.mounts:
        if planned.options.remounts:
            continue
        if planned.is_bind:
            os.close(mounts.attach(tree, planned, host))
            continue
        target = mounts.open_mount_point(tree, planned)
        os.close(mounts.attach_to(target, mounts.new_filesystem("tmpfs", "tmpfs", 0, [], [("mode", "755")])))
    if plan.root.makes_devices:
        devices.make_devices(tree, plan.root.nodes, host, bind=False)
    os.close(tree.make_directory(plan.process.cwd))
    if plan.config.root.readonly:
        # criu puts the old root at /tmp. If /tmp is missing, it creates a directory, which a read-only root prevents.
        os.close(tree.make_directory("/tmp", 0o1777))
