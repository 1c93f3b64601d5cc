"""NOTIFY_SOCKET, sd_notify(3): the service manager that started our caller learns when the container is ready.

      service manager          runtime (start, run)                    container
                               listen in DIRECTORY, which `create`
                               bound at /run/notify
                                                       ◀── "READY=1"
             ◀── "READY=1", "MAINPID=" of the init
             ◀── "BARRIER=1", with a pipe
      close the pipe ────────▶ go on

Only READY is passed on: the rest of the protocol would let the container direct what the service manager does.
"""

import _socket
import _thread
import os
import select

from pyrun.container.state import NOTIFY, Container
from pyrun.rootfs.mounts import PlannedMount, open_source
from pyrun.spec.config import Mount
from pyrun.spec.node import root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.setup import PlannedRoot
    from pyrun.spec.config import Process

INSIDE = "/run/notify"
_SOCKET = "notify.sock"
_OPTIONS = ["bind", "nosuid", "noexec", "nodev", "ro"]
_MAXIMUM = 4096
_BARRIER_MS = 30_000


def offer(container: Container, root_: "PlannedRoot", process: "Process") -> None:
    """Give the container a place for the socket, and its process the name of that."""
    directory = f"{container.directory}/{NOTIFY}"
    os.mkdir(directory)
    os.chmod(directory, 0o755)  # whatever the umask is: the process need not be root
    mount = {"destination": INSIDE, "source": directory, "options": _OPTIONS}
    planned = PlannedMount(Mount(root(mount, "NOTIFY_SOCKET")), "")
    planned.opened = open_source(planned)  # here: root of another user namespace cannot reach the state directory
    root_.mounts.append(planned)
    process.env.append(f"NOTIFY_SOCKET={INSIDE}/{_SOCKET}")


class Notifications:
    """The socket of a container that is about to start."""

    def __init__(self, container: Container) -> None:
        """Changes the working directory: a socket's path may have 107 bytes, a state directory's more."""
        self._pid = container.pid
        self._pidfd = os.pidfd_open(container.pid)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
        os.chdir(f"{container.directory}/{NOTIFY}")
        self._socket.bind(_SOCKET)
        os.chmod(_SOCKET, 0o777)  # for whoever the process is

    def pass_on(self, address: str, background: bool) -> None:
        """Tell the service manager at `address` when the container is ready; wait for that, or its end.

        In the `background` it is a thread that waits: nothing is forked any more.
        """
        if background:
            _thread.start_new_thread(self._pass_on, (address,))
        else:
            self._pass_on(address)

    def _pass_on(self, address: str) -> None:
        if not self._becomes_ready():
            return
        manager = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
        manager.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        manager.send(b"READY=1\n")
        manager.send(b"MAINPID=%d\n" % self._pid)
        ended, end = os.pipe()
        rights = end.to_bytes(4, "little")
        manager.sendmsg([b"BARRIER=1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        os.close(end)
        # sd_notify_barrier(3): all that was sent before is dealt with when the manager closes its copy of the pipe. We
        # may be gone then, and a message whose sender it cannot find is none.
        acknowledged = select.poll()
        acknowledged.register(ended, 0)
        acknowledged.poll(_BARRIER_MS)

    def _becomes_ready(self) -> bool:
        """Wait until the container says that it is ready, or ends."""
        either = select.poll()
        either.register(self._socket, select.POLLIN)
        either.register(self._pidfd, select.POLLIN)
        while True:
            ready = dict(either.poll())
            if self._socket.fileno() not in ready:
                return False
            if b"READY=1" in self._socket.recv(_MAXIMUM).split(b"\n"):
                return True
