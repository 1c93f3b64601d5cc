"""The program criu: found, started as `criu swrk`, and asked one thing after the other over a socket.

Not by its command line: there the master end of a container's terminal cannot come to us, and the restored init would
be a child of criu's and not ours, whose exit status nobody could collect.
"""

import _socket
import os

from pyrun import log
from pyrun.checkpoint import rpc
from pyrun.errors import Error, UsageError, reason
from pyrun.launch.departure import reset_signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn

    from pyrun.checkpoint.options import Images

    Notified = Callable[[str, int, list[int]], None]

# criu's release that knows all that we ask for: external pid namespaces and lsm_mount_context were the last.
OLDEST = (3, 16)
_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
_READY, _FAILURE = b".", b"!"  # what the process says before it is criu; they begin no message of criu's
_DIRECTORIES = 2
_MAXIMUM = 1 << 16
_MSG_CMSG_CLOEXEC = 0x40000000


def find(given: str) -> str:
    """Return the path of criu: `given` (--criu), or that in PATH. Raises Error where there is none."""
    if given:
        if not (os.path.isfile(given) and os.access(given, os.X_OK)):
            raise UsageError(f"--criu {given}: is not a program")
        return os.path.abspath(given)
    for directory in os.environ.get("PATH", _PATH).split(":"):
        if os.access(f"{directory}/criu", os.X_OK):
            return f"{directory}/criu"
    raise Error("criu is not in PATH: apt-get install criu, or your distribution's package, or --criu PATH")


def check(path: str) -> str:
    """Return why the criu at `path` cannot work on this machine, "" where it can."""
    output = os.memfd_create("output", os.MFD_CLOEXEC)
    actions = [(os.POSIX_SPAWN_DUP2, output, number) for number in (1, 2)]
    child = os.posix_spawn(path, [path, "check"], {"PATH": _PATH, **os.environ}, file_actions=actions)
    if os.waitpid(child, 0)[1] == 0:
        return ""
    lines = os.pread(output, _MAXIMUM, 0).decode("utf-8", "replace").splitlines()
    return next((line.strip() for line in reversed(lines) if line.strip()), "`criu check` fails")


class Criu:
    """A `with` block in which there is a criu, with all that is open in `inherited` and our standard streams.

    `prepare` is called in the process that becomes it, before that opens the directories of `images`: criu works in
    them and mounts there, so they must be opened in its mount namespace.
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
        self._socket, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
        self.pid = os.fork()
        if self.pid == 0:
            _become(path, theirs, images, inherited or [], prepare)
        theirs.close()

    def __enter__(self) -> "Criu":
        try:
            # criu opens them again by /proc/PID/fd of who made the socket, which is this process.
            _, self._directories = self._receive()
        except BaseException:
            self._end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self._end()

    def _end(self) -> None:
        """Wait for the end of criu, which comes with that of the connection."""
        self._socket.close()
        for fd in self._directories:
            os.close(fd)  # else its mount namespace would be kept
        os.waitpid(self.pid, 0)

    def _version(self) -> "tuple[int, int]":
        response, _ = self._ask(rpc.encode(rpc.REQUEST, {"type": rpc.VERSION, "keep_open": True}))
        return response.version

    def check_version(self) -> None:
        found = self._version()
        if found < OLDEST:
            names = [".".join(map(str, one)) for one in (found, OLDEST)]
            raise Error(f"criu {names[0]} is too old: install {names[1]} or newer")

    def carry_out(self, type_: int, options: "dict[str, rpc.Value]", notified: "Notified") -> int:
        """Have criu do what `type_` says; return the pid of the init where it has restored one.

        `notified` is called with the name of each stage, the pid of the init, and a descriptor where one comes with it;
        what it raises makes criu give up and undo what it has done, and is raised here. Raises Error where criu fails.
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
            pass  # it has ended, and what it said last tells why
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


def _become(
    path: str,
    socket: "_socket.socket",
    images: "Images",
    inherited: "list[int]",
    prepare: "Callable[[], object]",
) -> "NoReturn":
    """Execute criu in this child; report what prevents it, and never return to the parent's code."""
    try:
        prepare()
        rights = b"".join(fd.to_bytes(4, "little") for fd in images.open())
        socket.sendmsg([_READY], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)])
        for fd in (socket.fileno(), *inherited):
            os.set_inheritable(fd, True)
        reset_signals()
        environment = {"PATH": _PATH, **os.environ}  # it calls tar, ip and iptables
        os.execve(path, [path, "swrk", str(socket.fileno())], environment)
    except BaseException as error:
        socket.send(_FAILURE + reason(error).encode("utf-8", "surrogateescape"))
    finally:
        os._exit(1)
