"""A process that waits in the container's cgroup until the container's first process is in it.

systemd does not make a scope without a process; and /proc/PID/cgroup of this process has the names for criu's cg_root.
"""

from foundation import interrupts
from foundation.linux import os
from pyrun.cgroup.join import move
from pyrun.checkpoint.rpc import CGROUP_ROOT, encode
from pyrun.stub.channel import Channel
from pyrun.stub.child import Child

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.driver import Driver
    from pyrun.checkpoint.rpc import Value
    from pyrun.config.linux import Resources


class Placeholder:
    """Forks the process. leave() ends it."""

    def __init__(self) -> None:
        self._child: Child | None = Child(_wait)
        self._pid = self._child.pid

    def enter(self, cgroup: "Driver", resources: "Resources") -> None:
        """Put the process into `cgroup`, in all hierarchies."""
        cgroup.adopt(self._pid, resources)
        move(cgroup, self._pid)

    def roots(self) -> "list[Value]":
        """Return `cg_root` of a restore: for each controller the cgroup that replaces the one in the image."""
        with open(f"/proc/{self._pid}/cgroup", "rb") as file:
            lines = [os.fsdecode(line).rstrip("\n").split(":", 2) for line in file]
        return [
            encode(CGROUP_ROOT, {"ctrl": controller, "path": path})
            for _, controllers, path in lines
            for controller in controllers.split(",")
        ]

    def leave(self) -> None:
        """End the process. A second call does nothing."""
        if self._child:
            self._child.end()
            self._child = None


def _wait(channel: Channel) -> None:
    interrupts.hold()  # for good: it ends when our end of the channel is closed
    channel.next()
