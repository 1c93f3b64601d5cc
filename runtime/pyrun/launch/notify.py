"""NOTIFY_SOCKET, sd_notify(3): reports to the service manager that started our caller when the container is ready.

      service manager          runtime (start, run)                    container
                               listen in DIRECTORY, which `create`
                               bound at /run/notify
                                                       ◀── "READY=1"
             ◀── "READY=1", "MAINPID=" of the init
             ◀── "BARRIER=1", with a pipe
      close the pipe ────────▶ go on

Only READY is forwarded: the rest of the protocol would let the container control the service manager.
"""

import _socket
import _thread
import select

from foundation.linux import os
from foundation.linux.opened import opened
from pyrun import log
from pyrun.config.document import Mount
from pyrun.config.node import Node
from pyrun.container.state import NOTIFY, Container
from pyrun.rootfs.planned_mount import PlannedMount
from pyrun.stdio.sockets import short_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

INSIDE = "/run/notify"
_SOCKET = "notify.sock"
VARIABLE = f"NOTIFY_SOCKET={INSIDE}/{_SOCKET}"
_OPTIONS = ["bind", "nosuid", "noexec", "nodev", "ro"]
_MAXIMUM = 4096
_BARRIER_MS = 30_000


def mount(state_directory: str) -> PlannedMount:
    """Return the mount of the socket's directory in a container with this state directory."""
    json = {"destination": INSIDE, "source": f"{state_directory}/{NOTIFY}", "options": _OPTIONS}
    return PlannedMount(Mount(Node.root(json, "NOTIFY_SOCKET")))


def make_directory(container: Container) -> None:
    """Make the directory of the socket."""
    directory = f"{container.directory}/{NOTIFY}"
    os.mkdir(directory)
    os.chmod(directory, 0o755)  # independent of our umask, because the process need not be root


class Notifications:
    """The socket on which a container that is about to start will report. Must be made before the program runs."""

    def __init__(self, container: Container) -> None:
        self._pid = container.pid
        self._pidfd = os.pidfd_open(container.pid)
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
        with opened(os.open(f"{container.directory}/{NOTIFY}", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            self._socket.bind(short_path(directory, _SOCKET))
            os.chmod(_SOCKET, 0o777, dir_fd=directory)  # the process may be any user

    def pass_on(self, address: str) -> None:
        """Wait until the container is ready or has ended, and report it to the service manager at `address` if ready.

        If the manager does not answer, only log a warning: the container does not need it.
        """
        try:
            if self._becomes_ready():
                self._tell(address)
        except OSError as error:
            log.warning(f"NOTIFY_SOCKET: {address}: {error.strerror}: the container keeps running")

    def pass_on_meanwhile(self, address: str) -> "Callable[[], object]":
        """Do the same in a thread, and return the function that waits for its end. The caller must not fork any more.

        Whoever waits for the container calls it before exiting: a container can report and end at once.
        """
        running = _thread.allocate_lock()
        running.acquire()

        def pass_on() -> None:
            try:
                self.pass_on(address)
            finally:
                running.release()

        _thread.start_new_thread(pass_on, ())
        return running.acquire

    def _tell(self, address: str) -> None:
        manager = _socket.socket(_socket.AF_UNIX, _socket.SOCK_DGRAM | _socket.SOCK_CLOEXEC, 0)
        manager.connect(f"\0{address[1:]}" if address.startswith("@") else address)
        manager.send(b"READY=1\n")
        manager.send(b"MAINPID=%d\n" % self._pid)
        ended, end = os.pipe()
        rights = end.to_bytes(4, "little")
        manager.sendmsg([b"BARRIER=1"], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        os.close(end)
        # sd_notify_barrier(3): wait until the manager closes its copy of the pipe, when it has processed the messages
        # before it. It ignores messages whose sender has exited.
        acknowledged = select.poll()
        acknowledged.register(ended, 0)
        acknowledged.poll(_BARRIER_MS)

    def _becomes_ready(self) -> bool:
        """Wait until the container reports that it is ready, or ends; return whether it is ready."""
        either = select.poll()
        either.register(self._socket, select.POLLIN)
        either.register(self._pidfd, select.POLLIN)
        while True:
            ready = dict(either.poll())
            if self._socket.fileno() not in ready:
                return False
            if b"READY=1" in self._socket.recv(_MAXIMUM).split(b"\n"):
                return True
