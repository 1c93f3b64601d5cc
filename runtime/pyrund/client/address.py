"""Where the daemon is: unix://PATH, tcp://HOST:PORT, ssh://[USER@]HOST[:PORT]."""

import _socket

from foundation.linux import os
from foundation.linux.socketpair import STREAM, socketpair
from pyrund.errors import Refused
from pyrund.places import Defaults

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.options import Options

_OF_ROOT = "/var/run/docker.sock"
_PORT, _TLS_PORT = 2375, 2376
# What runs at the other end of ssh: it connects its standard streams with the socket there.
_DIAL = "if command -v pyrund >/dev/null; then exec pyrund dial-stdio; else exec docker system dial-stdio; fi"


def default() -> str:
    """Return where the daemon is if nobody says so: a user who is not root has one of his own. As long as that does not
    listen, it is root's, if he may use that. Raises Refused."""
    places = Defaults()
    try:
        own = places.socket
    except Refused:
        if _listens(_OF_ROOT):
            return f"unix://{_OF_ROOT}"
        raise
    is_roots = places.is_rootless and not _listens(own) and _listens(_OF_ROOT)
    return f"unix://{_OF_ROOT if is_roots else own}"


def _listens(path: str) -> bool:
    try:
        _connected(_socket.AF_UNIX, path).close()
        return True
    except OSError:
        return False


class Address:
    """The address `text`, and the options and variables for TLS. Raises Refused if it is none."""

    def __init__(self, text: str, options: "Options | None" = None) -> None:
        self.text = text
        options = options or {}
        self._verifies = bool(options.get("tlsverify", os.environment.get("DOCKER_TLS_VERIFY", "")))
        self._encrypts = self._verifies or bool(options.get("tls"))
        folder = os.environment.get("DOCKER_CERT_PATH") or f"{os.environment.get('DOCKER_CONFIG') or _home()}"
        names = {"tlscacert": "ca.pem", "tlscert": "cert.pem", "tlskey": "key.pem"}
        self._files = {name: options.get(name) or f"{folder}/{file}" for name, file in names.items()}
        self.kind, separator, self.place = text.partition("://")
        if not separator:
            self.kind, self.place = "tcp", text
        if self.kind not in ("unix", "tcp", "ssh") or not self.place:
            raise Refused(f"-H {text}: expected unix://PATH, tcp://HOST:PORT or ssh://[USER@]HOST")

    def connect(self) -> "_socket.socket":
        """Return a connection. Raises OSError."""
        if self.kind == "ssh":
            return _through_ssh(self.place)
        if self.kind == "unix":
            return _connected(_socket.AF_UNIX, self.place)
        if self._encrypts:
            return self._through_tls()
        return self._tcp(_PORT)[0]

    def _through_tls(self) -> "_socket.socket":
        """Return one end of a pair of sockets. A process at the other end encrypts, for as long as we need it."""
        from pyrund.tls import Carrier, client_context  # imported here because it imports ssl

        network, host = self._tcp(_TLS_PORT)
        carrier = Carrier(client_context(self._files, self._verifies), network, False, host)
        carrier.shake_hands()
        ours, theirs = socketpair(STREAM)
        if os.fork() == 0:
            try:
                os.setsid()  # ^C is for our side
                ours.close()
                carrier.carry(theirs)
            finally:
                os._exit(0)
        theirs.close()
        network.close()
        return ours

    def _tcp(self, default: int) -> "tuple[_socket.socket, str]":
        host, port = split_port(self.place, default)
        failure = OSError(f"{host}: no address")
        for family, _, _, _, address in _socket.getaddrinfo(host, port, 0, _socket.SOCK_STREAM):
            try:
                return _connected(family, address), host
            except OSError as error:
                failure = error
        raise failure


def _home() -> str:
    return f"{os.home()}/.docker"


def split_port(place: str, default: int) -> "tuple[str, int]":
    """Return (host, port) of "host:port", "[::1]:port" or a host alone. Raises Refused."""
    host, colon, port = place.rstrip("/").rpartition(":")
    if not colon or port.endswith("]"):
        host, port = place.rstrip("/"), str(default)
    if not (port.isascii() and port.isdigit() and int(port) < 1 << 16):
        raise Refused(f"tcp://{place}: invalid port {port!r}")
    return host.strip("[]"), int(port)


def _connected(family: int, address: "str | tuple[object, ...]") -> "_socket.socket":
    made = _socket.socket(family, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
    try:
        made.connect(address)
    except BaseException:
        made.close()
        raise
    return made


def _through_ssh(place: str) -> "_socket.socket":
    """Return one end of a pair of sockets, whose other end is standard input and output of ssh."""
    user, at, rest = place.rstrip("/").rpartition("@")
    host, port = split_port(rest, 22)
    if user.startswith("-") or host.startswith("-") or not host:
        raise Refused(f"-H ssh://{place}: expected ssh://[USER@]HOST[:PORT]")
    program = next((path for path in _candidates("ssh") if os.access(path, os.X_OK)), "")
    if not program:
        raise Refused(f"-H ssh://{place}: the program ssh is missing")
    ours, theirs = socketpair(STREAM)
    words = ["ssh", "-T", "-p", str(port), *(["-l", user] if at else []), "--", host, _DIAL]
    streams = [(os.POSIX_SPAWN_DUP2, theirs.fileno(), 0), (os.POSIX_SPAWN_DUP2, theirs.fileno(), 1)]
    os.posix_spawn(program, words, os.environ, file_actions=streams)
    theirs.close()
    return ours


def _candidates(program: str) -> "list[str]":
    return [f"{folder}/{program}" for folder in os.get_exec_path() if folder]
