"""A process that waits in the container's cgroup until the first of the container's own is there.

systemd makes no scope without a process; and from this one the kernel tells by which names criu finds the cgroups.
"""

import os

from pyrun.checkpoint.rpc import CGROUP_ROOT, encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cgroup.group import Cgroup
    from pyrun.checkpoint.rpc import Value
    from pyrun.spec.linux import Resources


class Placeholder:
    def __init__(self, cgroup: "Cgroup", resources: "Resources") -> None:
        ours, self._hold = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:
            os.close(self._hold)
            os.read(ours, 1)  # until the other end is closed
            os._exit(0)
        os.close(ours)
        cgroup.adopt(self._pid, resources)
        join(cgroup, self._pid)

    def roots(self) -> "list[Value]":
        """Return `cg_root` of a restore: the cgroup by controller, where criu shall put what was in the old one."""
        with open(f"/proc/{self._pid}/cgroup", "rb") as file:
            lines = [os.fsdecode(line).rstrip("\n").split(":", 2) for line in file]
        return [
            encode(CGROUP_ROOT, {"ctrl": controller, "path": path})
            for _, controllers, path in lines
            for controller in controllers.split(",")
        ]

    def leave(self) -> None:
        if self._pid:
            os.close(self._hold)
            os.waitpid(self._pid, 0)
            self._pid = 0


def join(cgroup: "Cgroup", pid: int) -> None:
    """Put the process `pid` into the cgroup, in all hierarchies."""
    for directory in cgroup.directories:
        fd = os.open(f"{directory}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, b"%d" % pid)
        finally:
            os.close(fd)
