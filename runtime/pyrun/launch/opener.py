"""The opener: a process with the host's privileges that opens files for an init in a user namespace.

      runtime                    opener                              init
      fork ────────────────────▶ join the init's mount namespace
                                                   ◀── "source 3" ── (at the fourth mount)
                                 open it
                                 ── "opened" (with a descriptor) ──▶
                                 exit              ◀── close ─────── (when the devices are made)

The opener opens a file only when the init asks for it, and in the init's mount namespace. So a source inside the root
file system shows what is mounted there by then, and the copies have the attributes of the host's mounts locked
(mount_namespaces(7)).

Rejected: opening everything in the runtime before it makes the init. A copy from the host's mount namespace has no
locked attributes, so root of the user namespace could make a read-only mount of the host writable.
"""

from _signal import SIGKILL

from foundation import interrupts
from foundation.linux import os
from foundation.linux.mount import (
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    OPEN_TREE_CLONE,
    move_mount,
    open_tree,
)
from foundation.linux.opened import opened
from foundation.linux.prctl import PR_SET_DUMPABLE, prctl
from foundation.linux.sched import CLONE_NEWNS, setns
from pyrun.rootfs.host import Host
from pyrun.rootfs.mounts import label_option, new_filesystem
from pyrun.rootfs.tree import descriptor_path
from pyrun.stub.channel import Channel
from pyrun.stub.child import fork
from pyrun.stub.departure import seal_imports

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Config
    from pyrun.rootfs.device_nodes import Node
    from pyrun.rootfs.planned_mount import PlannedMount
    from pyrun.rootfs.planned_root import PlannedRoot


class Opener(Host):
    """Both sides of the opener. They name mounts and devices by their index in the plan, which both have.

    `scratch` is a directory of the host, over which the opener may mount a file system for new devices, in the
    container's mount namespace only.
    """

    def __init__(self, config: "Config", root: "PlannedRoot", scratch: str) -> None:
        super().__init__()
        self._linux = config.linux
        self._mounts = root.mounts
        self._nodes = root.nodes
        self._scratch = scratch
        self._made = -1  # the file system of new devices
        self._ours, self._theirs = Channel.pair()
        self._pid = 0
        self._layers: list[int] = []

    def start(self, init: int, channel: Channel) -> None:
        """Fork the opener for the process `init`.

        The opener closes our end of `channel`, so that the init still sees end of file if the runtime dies.
        """

        def work() -> None:
            interrupts.hold()  # for good, because it ends when the init does
            channel.close()
            self._theirs.close()
            self._serve(init)

        self._pid = fork(work, self._ours.fail)
        self._theirs.close()
        self._ours.close()

    def wait(self) -> None:
        """Wait until the opener has ended; it does so when the init calls end(), or ends."""
        os.waitpid(self._pid, 0)
        self._pid = 0

    def kill(self) -> None:
        """Kill and collect the opener; does nothing after wait()."""
        if self._pid:
            os.kill(self._pid, SIGKILL)
            self.wait()

    def _serve(self, init: int) -> None:
        prctl(PR_SET_DUMPABLE, 0)  # other processes may be in a joined mount namespace (CVE-2016-9962)
        namespace = os.open(f"/proc/{init}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        seal_imports()
        setns(namespace, CLONE_NEWNS)
        os.umask(0)
        while word := self._ours.next():
            with opened(self._open(*word.split(" ", 1))) as fd:
                self._ours.say("opened", [fd])

    def _open(self, kind: str, what: str) -> int:
        if kind == "directory":
            return super().directory(what)
        if kind == "source":
            return super().source(self._mounts[int(what)])
        if kind == "link":
            return super().link(self._mounts[int(what)])
        node = self._nodes[int(what)]
        fd = self.find_device(node)
        return fd if fd >= 0 else self._make_device(node)

    def _make_device(self, node: "Node") -> int:
        if self._made < 0:
            data = [("mode", "700"), *label_option(self._linux.mount_label)]
            self._made = new_filesystem("tmpfs", "tmpfs", MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC, [], data)
            target = super().directory(self._scratch)
            move_mount(self._made, target)  # only an attached mount can be bound
            os.close(target)
        name = str(self._nodes.index(node))
        os.mknod(name, node.mode, node.number, dir_fd=self._made)
        os.chown(name, self._linux.host_uid(node.uid), self._linux.host_gid(node.gid), dir_fd=self._made)
        return open_tree(name.encode(), OPEN_TREE_CLONE, dirfd=self._made)

    # The following methods run in the init. Those that open something return a descriptor, which the caller closes.

    def begin(self) -> None:
        self._ours.close()

    def directory(self, path: str) -> int:
        return self._ask(f"directory {path}")

    def source(self, planned: "PlannedMount") -> int:
        return self._ask(f"source {self._mounts.index(planned)}")

    def link(self, planned: "PlannedMount") -> int:
        return self._ask(f"link {self._mounts.index(planned)}")

    def device(self, node: "Node") -> int:
        return self._ask(f"device {self._nodes.index(node)}")

    def layers(self, value: str) -> str:
        if "\\" in value:
            return value  # a path with an escaped colon: the init itself may be able to open it
        opened = [self.directory(path) for path in value.split(":")]
        self._layers += opened
        return ":".join(os.fsdecode(descriptor_path(fd)) for fd in opened)

    def end(self) -> None:
        self._theirs.close()
        for fd in self._layers:
            os.close(fd)

    def _ask(self, what: str) -> int:
        self._theirs.say(what)
        return self._theirs.hear("opened").descriptors[0]
