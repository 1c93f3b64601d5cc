"""HTTP connections: made, kept open and shared by threads; no redirects, no authentication, no retries.

http.client does the protocol. What it lacks is here: several addresses of a host tried at the same time, tunnels
through proxies, a limit on the time that a server takes for the head of its answer, and one kind of error for all
that can be tried again.
"""

import errno
import http.client
import os
import select
import socket
import threading
import time
from urllib.parse import urlsplit

from pyfetch import __version__
from pyfetch.errors import NetworkError, VerificationError, printable
from pyfetch.proxies import Proxy, proxy_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable
    from typing import Any

    Address = tuple[socket.AddressFamily, "tuple[str, int]"]

USER_AGENT = f"pyfetch/{__version__}"
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789.-_:")  # urlsplit gives it in lower case
_STAGGER = 0.3  # RFC 8305, 5: time that an address has before the next is tried beside it
_MAXIMUM_HEAD = 64 << 10
_MINIMUM_RATE = 1024  # bytes in `timeout` seconds; less is a stall, however regularly they drip


class Unavailable(NetworkError):
    """Failed in a way that may pass: worth another attempt, after `delay` seconds if the server named them."""

    def __init__(self, text: str, delay: "float | None" = None) -> None:
        super().__init__(text)
        self.delay = delay


class Origin:
    """scheme, host and port: what credentials are meant for."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise VerificationError(f"not a URL: {printable(url, 200)}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise VerificationError(f"not a URL to fetch from: {printable(url, 200)}")
        self.scheme = parts.scheme
        self.host = parts.hostname
        self.port = port or (443 if self.scheme == "https" else 80)
        if any(c not in _HOST_CHARACTERS for c in self.host):
            raise VerificationError(f"not a host: {printable(self.host, 200)}")
        self.target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        if any(c <= " " or c > "~" for c in self.target):  # CVE-2019-9740: no header inside the request line
            raise VerificationError(f"not a URL: {printable(url, 200)}")

    @property
    def key(self) -> "tuple[str, str, int]":
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"


class Client:
    """Sends requests; keeps connections for the next one. `tls` gives the context for a host and port."""

    def __init__(self, timeout: float, tls: "Callable[[str, int], ssl.SSLContext]") -> None:
        self.timeout = timeout
        self._tls = tls
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: "dict[str, str]", body: "bytes | None" = None) -> "Response":
        """Return the answer, whatever its status. Its head has come, its body has not; close it."""
        origin = Origin(url)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        kept = self._take(origin)
        if kept is not None:
            try:
                return self._exchange(kept, origin, method, headers, body)
            except Unavailable:
                pass  # the server may close what is idle at any time: that is no failure, and not counted
        return self._exchange(self._connect(origin), origin, method, headers, body)

    def keep(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        with self._lock:
            self._idle.setdefault(origin.key, []).append(connection)

    def _take(self, origin: Origin) -> "http.client.HTTPConnection | None":
        with self._lock:
            idle = self._idle.get(origin.key)
            return idle.pop() if idle else None

    def _exchange(
        self,
        connection: http.client.HTTPConnection,
        origin: Origin,
        method: str,
        headers: "dict[str, str]",
        body: "bytes | None",
    ) -> "Response":
        target = origin.target
        proxy = proxy_for(origin.scheme, origin.host, origin.port) if origin.scheme == "http" else None
        if proxy is not None:
            target = f"{origin}{target}"
            headers = {**headers, **_proxy_headers(proxy)}
        timer = threading.Timer(self.timeout, _hang_up, (connection.sock,))
        timer.daemon = True
        timer.start()
        try:
            connection.request(method, target, body, {"Host": _host_header(origin), **headers})
            return Response(self, origin, connection, connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unavailable(origin, error) from error
        finally:
            timer.cancel()

    def _connect(self, origin: Origin) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(origin.host, origin.port, timeout=self.timeout)
        proxy = proxy_for(origin.scheme, origin.host, origin.port)
        try:
            connection.sock = self._socket(origin, proxy)
        except OSError as error:
            raise _unavailable(origin, error) from error
        return connection

    def _socket(self, origin: Origin, proxy: "Proxy | None") -> socket.socket:
        deadline = min(self.timeout, 30)
        sock = connect(proxy.host, proxy.port, deadline) if proxy else connect(origin.host, origin.port, deadline)
        if origin.scheme == "http":
            sock.settimeout(self.timeout)
            return sock
        try:
            if proxy is not None:
                _open_tunnel(sock, origin, proxy)
            secure = self._tls(origin.host, origin.port).wrap_socket(sock, server_hostname=origin.host)
        except BaseException:
            sock.close()
            raise
        secure.settimeout(self.timeout)
        return secure


class Response:
    def __init__(
        self, client: Client, origin: Origin, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self.origin = origin
        self._client = client
        self._connection = connection
        self._response = response
        self._closed = False
        self._window = time.monotonic()  # since when
        self._got = 0  # how much

    def read(self, size: int) -> bytes:
        """Return what has come, at most `size` bytes, and b"" at the end; raise Unavailable if it ends too early."""
        try:
            data = self._response.read1(size)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(self.origin, error) from error
        if not data and self._response.length:
            raise Unavailable(f"{self.origin}: the connection was closed {self._response.length} bytes too early")
        self._check_rate(len(data))
        return data

    def read_all(self, limit: int) -> bytes:
        """Return the whole body if it has at most `limit` bytes, else the first `limit` + 1."""
        data = bytearray()
        while len(data) <= limit:
            piece = self.read(min(64 << 10, limit + 1 - len(data)))
            if not piece:
                break
            data += piece
        self.close()
        return bytes(data)

    def close(self) -> None:
        """Give the connection back if the answer was read to its end."""
        if self._closed:
            return
        self._closed = True
        if self._response.length == 0:
            self._response.read()  # read1 does not mark an answer as complete
        if self._response.isclosed() and not self._response.will_close:
            self._client.keep(self.origin, self._connection)
        else:
            self._connection.close()

    def _check_rate(self, size: int) -> None:
        self._got += size
        now = time.monotonic()
        if now - self._window > self._client.timeout:
            if self._got < _MINIMUM_RATE:
                raise Unavailable(f"{self.origin}: stalled")
            self._window, self._got = now, 0


def connect(host: str, port: int, timeout: float) -> socket.socket:
    """Connect to the first address of `host` that answers; one that does not answer delays the next by 300 ms only.

    RFC 8305 ("happy eyeballs"): where IPv6 is broken, its addresses would else use up the whole timeout first.
    """
    addresses = _interleaved(socket.getaddrinfo(host, port, type=socket.SOCK_STREAM))
    pending: list[socket.socket] = []
    failure: OSError | None = None
    deadline = time.monotonic() + timeout
    try:
        while addresses or pending:
            if addresses:
                sock, error = _start_to_connect(*addresses.pop(0))
                if error:
                    failure = OSError(error, os.strerror(error))
                    sock.close()
                    continue
                pending.append(sock)
            wait = min(_STAGGER, deadline - time.monotonic()) if addresses else deadline - time.monotonic()
            _, ready, _ = select.select([], pending, [], max(wait, 0))
            for sock in ready:
                pending.remove(sock)
                error = sock.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR)
                if not error:
                    sock.settimeout(timeout)
                    sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                    return sock
                sock.close()
                failure = OSError(error, os.strerror(error))
            if time.monotonic() >= deadline:
                raise failure or TimeoutError("timed out")
    finally:
        for sock in pending:
            sock.close()
    raise failure or OSError("no address")


def _interleaved(found: "list[tuple[Any, ...]]") -> "list[Address]":
    """Alternate between the families, the one that the resolver prefers first."""
    addresses = [(family, address) for family, _, _, _, address in found]
    first = [a for a in addresses if a[0] == addresses[0][0]]
    second = [a for a in addresses if a[0] != addresses[0][0]]
    mixed = [a for pair in zip(first, second) for a in pair]
    return mixed + first[len(second) :] + second[len(first) :]


def _start_to_connect(family: socket.AddressFamily, address: "tuple[str, int]") -> "tuple[socket.socket, int]":
    """Return the socket, and the errno of what failed at once (no route, say), or 0."""
    sock = socket.socket(family, socket.SOCK_STREAM)
    sock.setblocking(False)
    error = sock.connect_ex(address)
    return sock, 0 if error == errno.EINPROGRESS else error


def _open_tunnel(sock: socket.socket, origin: Origin, proxy: Proxy) -> None:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    lines = [f"CONNECT {host}:{origin.port} HTTP/1.1", f"Host: {host}:{origin.port}", f"User-Agent: {USER_AGENT}"]
    lines += [f"{name}: {value}" for name, value in _proxy_headers(proxy).items()]
    sock.sendall("\r\n".join([*lines, "", ""]).encode())
    head = b""
    while b"\r\n\r\n" not in head:
        byte = sock.recv(1)  # one at a time: what follows the head belongs to TLS
        if not byte or len(head) > _MAXIMUM_HEAD:
            raise OSError(f"the proxy {proxy.host}:{proxy.port} does not answer by HTTP")
        head += byte
    status = head.split(b" ")[1:2]
    if status != [b"200"]:
        line = head.partition(b"\r\n")[0].decode("latin-1")
        raise OSError(f"the proxy {proxy.host}:{proxy.port} refuses: {printable(line, 200)}")


def _proxy_headers(proxy: Proxy) -> "dict[str, str]":
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}


def _host_header(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    default = 443 if origin.scheme == "https" else 80
    return host if origin.port == default else f"{host}:{origin.port}"


def _hang_up(sock: "socket.socket | None") -> None:
    """End a request whose answer does not come; the thread that waits for it sees a closed connection."""
    try:
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # already closed by the other side


def _unavailable(origin: Origin, error: Exception) -> NetworkError:
    text = printable(getattr(error, "strerror", None) or str(error) or type(error).__name__, 300)
    if type(error).__name__ == "SSLCertVerificationError":
        return NetworkError(f"{origin}: {text}: put its authority into certs.d, or use --insecure")
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return NetworkError(f"{origin}: no such host: {text}")
    return Unavailable(f"{origin}: {text}")
