"""Where the daemon listens: unix sockets, TCP, and sockets that the service manager has opened (LISTEN_FDS)."""

import _socket
import grp
import stat
import time

from foundation.linux import os
from pyrund.errors import Refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.http.connection import Connection
    from pyrund.settings import Settings

_BACKLOG = 4096  # Go clients do not try again when it is full; the kernel has net.core.somaxconn as its limit
_MOST_READERS = 64  # connections at once: each may be a stream of `stats`, which takes a process
_IDLE = 2.0  # seconds without a request, after which another reader may have the place
_FIRST_INHERITED = 3  # sd_listen_fds(3)
_PORT, _TLS_PORT = 2375, 2376


class Listener:
    """A listening socket.

    path        of the socket that is removed at the end, or ""
    is_tcp      browsers may reach it
    names       of this machine by which clients of TCP call it; None if that is not known
    only_reads  its clients may only read
    connections  of its clients
    """

    def __init__(
        self, socket: "_socket.socket", path: str = "", names: "list[str] | None" = None, only_reads: bool = False
    ) -> None:
        self.socket = socket
        self.only_reads = only_reads
        self.connections: set[Connection] = set()
        self.path = path
        self.is_tcp = socket.family != _socket.AF_UNIX
        self.names = names
        socket.setblocking(False)

    @property
    def is_full(self) -> bool:
        """Whether it waits until a client leaves: who may only read must not exhaust the machine."""
        return self.only_reads and len(self.connections) >= _MOST_READERS

    def make_room(self) -> None:
        """Close the connection on which there has been no request for the longest time, if it has been idle at all."""
        end = time.monotonic() - _IDLE
        idle = [one for one in self.connections if 0 < one.idle_since < end]
        if idle:
            min(idle, key=lambda one: one.idle_since).hang_up()

    def close(self) -> None:
        self.socket.close()
        if self.path:
            try:
                os.unlink(self.path)
            except FileNotFoundError:
                pass  # somebody has removed it


def inherited(environment: "dict[str, str]") -> "list[_socket.socket]":
    """Return the sockets of LISTEN_FDS, if they are meant for this process."""
    count = environment.get("LISTEN_FDS", "")
    if environment.get("LISTEN_PID") != str(os.getpid()) or not count.isdigit():
        return []
    found = [_socket.socket(fileno=_FIRST_INHERITED + number) for number in range(int(count))]
    for socket in found:
        os.set_inheritable(socket.fileno(), False)
    return found


def listeners(settings: "Settings", given: "list[_socket.socket]") -> "list[Listener]":
    """Return what the daemon listens at; if one cannot be had, none is left open. Raises Refused."""
    hosts = settings.hosts or (["fd://"] if given else [settings.default_host])
    found: list[Listener] = []
    try:
        for host in hosts:
            found += _open(host, settings, given)
        for host in settings.read_only_hosts:
            found.append(_open_to_readers(host, settings.group))
    except BaseException:
        for listener in found:
            listener.close()
        raise
    return found


def _open(host: str, settings: "Settings", given: "list[_socket.socket]") -> "list[Listener]":
    kind, separator, place = host.partition("://")
    if kind == "unix" and place.startswith("/"):
        return [Listener(_unix(place, settings.group), place)]
    if kind == "tcp" and separator:
        return _tcp(host, place, settings)
    if kind == "fd" and separator:
        if not given:
            raise Refused("-H fd://: no sockets found: the service manager has to open them (LISTEN_FDS)")
        return [Listener(socket, "", _names_of(socket, settings)) for socket in given]
    raise Refused(f"-H {host}: expected unix:///PATH, tcp://ADDRESS:PORT or fd://")


def _open_to_readers(host: str, group: str) -> Listener:
    kind, _, place = host.partition("://")
    if kind != "unix" or not place.startswith("/"):
        raise Refused(f"--read-only-host {host}: expected unix:///PATH")
    return Listener(_unix(place, group), place, only_reads=True)


# unix


def _unix(path: str, group: str) -> "_socket.socket":
    """Return the listening socket, which only root and `group` may connect to. Raises Refused."""
    folder = os.path.dirname(path)
    os.makedirs(folder, 0o755, exist_ok=True)
    mode = os.stat(folder).st_mode
    if mode & 0o022 and not mode & stat.S_ISVTX:
        raise Refused(f"{folder}: others can write there, and could put another socket in place of ours")
    _remove_stale(path)
    listener = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    mask = os.umask(0o177)
    try:
        listener.bind(path)
    except OSError as error:
        raise Refused(f"-H unix://{path}: {error.strerror}") from None
    finally:
        os.umask(mask)
    try:
        os.chown(path, -1, grp.getgrnam(group).gr_gid)
        os.chmod(path, 0o660)
    except KeyError:
        pass  # no such group: the socket is root's alone
    listener.listen(_BACKLOG)
    return listener


def _remove_stale(path: str) -> None:
    """Remove the socket of an engine that was killed. Raises Refused if something else is there, or listens there."""
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise Refused(f"{path}: exists, and is not a socket")
    probe = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        probe.connect(path)
        raise Refused(f"{path}: another program listens there; name another socket with -H")
    except ConnectionRefusedError:
        os.unlink(path)
    finally:
        probe.close()


# TCP


def _tcp(host: str, place: str, settings: "Settings") -> "list[Listener]":
    name, colon, port = place.rpartition(":")
    name = name.strip("[]")
    port = port or str(_TLS_PORT if settings.tls else _PORT)
    if not (colon and port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise Refused(f"-H {host}: expected tcp://ADDRESS:PORT")
    try:
        found = _socket.getaddrinfo(name or "0.0.0.0", int(port), 0, _socket.SOCK_STREAM)
    except OSError as error:
        raise Refused(f"-H {host}: {error.strerror or error}") from None
    opened: list[Listener] = []
    try:
        for family, _, _, _, address in found:
            is_local = _check_reach(host, str(address[0]), settings)
            opened.append(Listener(_tcp_socket(host, family, address), "", [name] if is_local else None))
    except BaseException:
        for listener in opened:
            listener.close()
        raise
    return opened


def _tcp_socket(host: str, family: int, address: "tuple[object, ...]") -> "_socket.socket":
    made = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    made.setsockopt(_socket.SOL_SOCKET, _socket.SO_REUSEADDR, 1)
    if family == _socket.AF_INET6:
        made.setsockopt(_socket.IPPROTO_IPV6, _socket.IPV6_V6ONLY, 1)
    try:
        made.bind(address)
    except OSError as error:
        made.close()
        raise Refused(f"-H {host}: {error.strerror}") from None
    made.listen(_BACKLOG)
    return made


def _check_reach(host: str, address: str, settings: "Settings") -> bool:
    """Return whether only this machine reaches the address.

    Raises Refused if others do and need no key: who uses the engine is as good as root.
    """
    is_local = address.startswith("127.") or address == "::1"
    if not is_local and settings.tls != "tlsverify" and not settings.is_insecure:
        raise Refused(
            f"-H {host}: whoever reaches this address would be root here; "
            "use --tlsverify, an address of loopback, or --insecure-tcp"
        )
    return is_local


def _names_of(socket: "_socket.socket", settings: "Settings") -> "list[str] | None":
    """Return the names for a socket of the service manager's, whose address is checked like our own."""
    if socket.family == _socket.AF_UNIX:
        return None
    return [] if _check_reach("fd://", str(socket.getsockname()[0]), settings) else None
