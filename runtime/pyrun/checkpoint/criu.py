"""The program criu: this module finds it, starts it as `criu swrk`, and sends requests over a socket.

criu's command line would not do: it cannot pass us the master end of the container's terminal, and the restored init
would be a child of criu, so that nobody could collect its exit status.
"""

import _socket

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.socketpair import SEQPACKET, socketpair
from pyrun import log
from pyrun.checkpoint import rpc
from pyrun.errors import UsageError
from pyrun.stub.child import fork
from pyrun.stub.departure import reset_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pyrun.checkpoint.options import Images

    Notified = Callable[[str, int, list[int]], None]

# The first release with all options that we use; external pid namespaces and lsm_mount_context came last.
OLDEST = (3, 16)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_READY, _FAILURE = b".", b"!"  # sent before the process becomes criu; no message of criu begins so
_DIRECTORIES = 2
_MAXIMUM = 1 << 16
_MSG_CMSG_CLOEXEC = 0x40000000


def find(given: str) -> str:
    """Return the path of criu: `given` (--criu), or the one in PATH. Raises Error if there is none."""
    if given:
        if not (os.path.isfile(given) and os.access(given, os.X_OK)):
            raise UsageError(f"--criu {given}: is not a program")
        return os.path.abspath(given)
    for directory in os.environment.get("PATH", _PATH).split(":"):
        if os.access(f"{directory}/criu", os.X_OK):
            return f"{directory}/criu"
    raise Error("criu is not in PATH: apt-get install criu, or your distribution's package, or --criu PATH")


def check(path: str) -> str:
    """Return why the criu at `path` cannot work on this machine, "" if it can."""
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
    child = os.posix_spawn(path, [path, "check"], {"PATH": _PATH, **os.environment}, file_actions=actions)
    if os.waitpid(child, 0)[1] == 0:
        return ""
    lines = os.pread(output, _MAXIMUM, 0).decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "`criu check` fails")


class Criu:
    """A context manager: criu runs during the `with` block, and inherits `inherited` and our standard streams.

    `prepare` is called in the process that becomes criu, before that opens the directories of `images`: criu works and
    mounts in them, so they must be opened in its mount namespace.
    """

    def __init__(
        self,
        path: str,
        images: "Images",
        inherited: "list[int] | None" = None,
        prepare: "Callable[[], object]" = lambda: None,
    ) -> None:
        self._images = images
        self._directories: list[int] = []
        self._socket, theirs = socketpair(SEQPACKET)

        def become() -> None:
            prepare()
            _become(path, theirs, images, inherited or [])

        def fail(why: str) -> None:
            theirs.send(_FAILURE + why.encode("utf-8", "surrogateescape"))

        self.pid = fork(become, fail)
        theirs.close()

    def __enter__(self) -> "Criu":
        try:
            # criu opens them by /proc/PID/fd of the process that made the socket: this one.
            _, self._directories = self._receive()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        """Close the connection, which ends criu, and wait for that."""
        self._socket.close()
        for fd in self._directories:
            os.close(fd)  # otherwise they would keep criu's mount namespace alive
        os.waitpid(self.pid, 0)

    def _version(self) -> "tuple[int, int]":
        response, _ = self._ask(rpc.encode(rpc.REQUEST, {"type": rpc.VERSION, "keep_open": True}))
        return response.version

    def check_version(self) -> None:
        """Raise Error if criu is older than OLDEST."""
        found = self._version()
        if found < OLDEST:
            names = [".".join(map(str, one)) for one in (found, OLDEST)]
            raise Error(f"criu {names[0]} is too old: install {names[1]} or newer")

    def carry_out(self, type_: int, options: "dict[str, rpc.Value]", notified: "Notified") -> int:
        """Have criu carry out the request `type_` (rpc.DUMP, ...); return the pid of the init if it has restored one.

        `notified` is called with the name of each stage, the pid of the init, and a list of received descriptors, which
        it must close. If it raises, criu gives up and undoes its work, and the exception is raised here. Raises Error
        if criu fails.
        """
        options = {**options, **self._images.options(self._directories)}
        request = rpc.encode(rpc.REQUEST, {"type": type_, "opts": rpc.encode(rpc.OPTIONS, options)})
        response, descriptors = self._ask(request)
        refused: BaseException | None = None
        while response.type == rpc.NOTIFY:
            log.debug(f"criu: {response.script}")
            try:
                notified(response.script, response.pid, descriptors)
            except BaseException as error:
                refused = error
            answer: dict[str, rpc.Value] = {"type": rpc.NOTIFY, "notify_success": refused is None}
            response, descriptors = self._ask(rpc.encode(rpc.REQUEST, answer))
        if refused:
            raise refused
        if not response.success:
            raise Error(f"criu: {self._images.complaint() or response.message or 'failed, and does not say why'}")
        return response.pid

    def _ask(self, request: bytes) -> "tuple[rpc.Response, list[int]]":
        try:
            self._socket.send(request)
        except BrokenPipeError:
            pass  # criu has ended; its last message says why
        packet, descriptors = self._receive()
        return rpc.Response(packet), descriptors

    def _receive(self) -> "tuple[bytes, list[int]]":
        ancillary_size = _socket.CMSG_SPACE(_DIRECTORIES * 4)
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(_MAXIMUM, ancillary_size, _MSG_CMSG_CLOEXEC)
        except ConnectionResetError:
            packet, ancillary = b"", []
        if packet.startswith(_FAILURE):
            raise Error(packet[1:].decode("utf-8", "surrogateescape"))
        if not packet:
            raise Error("criu ended without an answer")
        rights = b"".join(data for _, kind, data in ancillary if kind == _socket.SCM_RIGHTS)
        return packet, [int.from_bytes(rights[at : at + 4], "little") for at in range(0, len(rights), 4)]


def _become(path: str, socket: "_socket.socket", images: "Images", inherited: "list[int]") -> "NoReturn":
    """Execute criu in this child, after sending its parent the descriptors of the directories."""
    rights = b"".join(fd.to_bytes(4, "little") for fd in images.open())
    socket.sendmsg([_READY], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
    for fd in (socket.fileno(), *inherited):
        os.set_inheritable(fd, True)
    reset_signals()
    environment = {"PATH": _PATH, **os.environment}  # criu runs tar, ip and iptables
    os.execve(path, [path, "swrk", str(socket.fileno())], environment)
