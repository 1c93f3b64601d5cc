"""HTTP connections, kept open and shared by threads, without redirects, authentication or retries.

http.client implements the protocol. This module adds what it lacks: tunnels through proxies, a time limit for the head
of an answer, and one exception for everything that is worth a retry.
"""

import http.client
import socket
import threading
import time
import zlib
from contextlib import contextmanager
from urllib.parse import urljoin, urlsplit

from foundation.errors import one_line
from pyfetch import __version__
from pyfetch.errors import NetworkError, VerificationError
from pyfetch.registry.addresses import Reach, ip_address, is_host, numeric_address
from pyfetch.registry.dialing import connect
from pyfetch.registry.proxies import Proxy, proxy_for

TYPE_CHECKING = False
if TYPE_CHECKING:
    import ssl
    from collections.abc import Callable, Iterable, Iterator
    from typing import Union

    Body = Union[bytes, "Iterable[bytes | memoryview]", None]

USER_AGENT = f"pyfetch/{__version__}"
_MAXIMUM_HEAD = 64 << 10
_MAXIMUM_TRAILERS = 100  # as many as http.client takes headers
_MINIMUM_RATE = 1024  # bytes in `timeout` seconds; less is a stall, even if they keep dripping


# OpenSSL's reasons, by its versions, for an answer in plain HTTP.
_NOT_TLS = ("WRONG_VERSION_NUMBER", "HTTP_REQUEST", "HTTPS_PROXY_REQUEST", "PACKET_LENGTH_TOO_LONG")


class Unavailable(NetworkError):
    """A temporary failure, worth another attempt, after `delay` seconds if the server gave a delay."""

    def __init__(self, text: str, delay: "float | None" = None) -> None:
        super().__init__(text)
        self.delay = delay


class Origin:
    """Scheme, host and port, to which credentials are bound; `target` is the rest of the URL."""

    def __init__(self, url: str) -> None:
        try:
            parts = urlsplit(url)
            port = parts.port
        except ValueError as error:
            raise VerificationError(f"not a URL: {one_line(url, 200)}: {error}") from None
        if parts.scheme not in ("http", "https") or not parts.hostname or parts.username is not None:
            raise VerificationError(f"not a URL to fetch from: {one_line(url, 200)}")
        self.scheme = parts.scheme
        self.host = parts.hostname
        self.port = port or (443 if self.scheme == "https" else 80)
        if not is_host(self.host):
            raise VerificationError(f"not a host: {one_line(self.host, 200)}")
        self.target = parts._replace(scheme="", netloc="", fragment="").geturl() or "/"
        if any(c <= " " or c > "~" for c in self.target):  # CVE-2019-9740: no header inside the request line
            raise VerificationError(f"not a URL: {one_line(url, 200)}")

    @property
    def key(self) -> "tuple[str, str, int]":
        return self.scheme, self.host, self.port

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return f"{self.scheme}://{host}:{self.port}"

    def join(self, reference: str) -> str:
        """Resolve `reference`, which a server wrote, against this URL; raise VerificationError."""
        try:
            return urljoin(f"{self}{self.target}", reference)
        except ValueError as error:
            raise VerificationError(f"not a URL: {one_line(reference, 200)}: {error}") from None


class Client:
    """Sends requests for one registry, the first one to itself, and keeps connections open.

    `tls` returns the context for a host and port.
    """

    def __init__(self, timeout: float, tls: "Callable[[str, int], ssl.SSLContext]") -> None:
        self.timeout = timeout
        self._tls = tls
        self._reach = Reach()
        self._idle: dict[tuple[str, str, int], list[http.client.HTTPConnection]] = {}
        self._lock = threading.Lock()

    def send(self, method: str, url: str, headers: "dict[str, str]", body: "Body" = None) -> "Response":
        """Return the answer once its head has come, whatever its status. The caller closes it.

        A `body` of pieces is sent once, as they come; the caller gives its Content-Length.
        """
        origin = Origin(url)
        headers = {"User-Agent": USER_AGENT, "Accept-Encoding": "identity", **headers}
        kept = self._take(origin)
        if kept is not None:
            try:
                return self._exchange(kept, origin, method, headers, body)
            except Unavailable:
                if not _is_whole(body):
                    raise
                # A server may close an idle connection at any time: this is not a failure.
        return self._exchange(self._connect(origin), origin, method, headers, body)

    def keep(self, origin: Origin, connection: http.client.HTTPConnection) -> None:
        """Keep the idle `connection` for the next request to `origin`."""
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
        body: "Body",
    ) -> "Response":
        target = origin.target
        proxy = proxy_for(origin.scheme, origin.host, origin.port) if origin.scheme == "http" else None
        if proxy is not None:
            target = f"{origin}{target}"
            headers = {**headers, **_proxy_headers(proxy)}
        headers = {"Host": _host_header(origin), **headers}
        try:
            is_sent = True
            if not _is_whole(body):
                is_sent = self._send_pieces(connection, method, target, body, headers)
            with _deadline(connection.sock, self.timeout):
                if _is_whole(body):
                    connection.request(method, target, body, headers)
                response = Response(self, origin, connection, connection.getresponse())
        except (OSError, http.client.HTTPException) as error:
            connection.close()
            raise _unavailable(origin, error) from error
        except BaseException:  # of what gives the pieces
            connection.close()
            raise
        response.can_be_kept = is_sent
        return response

    def _send_pieces(
        self, connection: http.client.HTTPConnection, method: str, target: str, body: "Body", headers: "dict[str, str]"
    ) -> bool:
        """Send a request whose body takes its time; return whether all of it was taken.

        The socket's timeout limits the time of each piece. A server that refuses the body answers before it closes.
        """
        try:
            connection.request(method, target, body, headers)
        except socket.timeout:  # TimeoutError since 3.10
            raise
        except OSError:
            return False
        return True

    def _connect(self, origin: Origin) -> http.client.HTTPConnection:
        connection = http.client.HTTPConnection(origin.host, origin.port, timeout=self.timeout)
        connection.response_class = _Answer
        proxy = proxy_for(origin.scheme, origin.host, origin.port)
        try:
            connection.sock = self._socket(origin, proxy)
        except OSError as error:
            raise _unavailable(origin, error) from error
        return connection

    def _socket(self, origin: Origin, proxy: "Proxy | None") -> socket.socket:
        deadline = min(self.timeout, 30)
        if proxy is not None:
            self._reach.check(numeric_address(origin.host), origin)
            sock = connect(proxy.host, proxy.port, deadline)
        else:
            sock = connect(origin.host, origin.port, deadline, self._reach)
        try:
            if proxy is None:
                # Check again: several threads may make the first connection, each to another address.
                self._reach.check(ip_address(sock.getpeername()[0]), origin)
            if origin.scheme == "http":
                sock.settimeout(self.timeout)
                return sock
            if proxy is not None:
                with _deadline(sock, deadline):
                    _open_tunnel(sock, origin, proxy)
            secure = self._tls(origin.host, origin.port).wrap_socket(sock, server_hostname=origin.host)
        except BaseException:
            sock.close()
            raise
        secure.settimeout(self.timeout)
        return secure


class _Answer(http.client.HTTPResponse):
    """Limits the number of trailers, which http.client reads without end."""

    def _read_and_discard_trailer(self) -> None:
        for _ in range(_MAXIMUM_TRAILERS):
            if self.fp.readline(_MAXIMUM_HEAD) in (b"\r\n", b"\n", b""):
                return
        raise http.client.HTTPException(f"more than {_MAXIMUM_TRAILERS} trailers")


class Response:
    """`length` is the length of the body by the head, or None; `encoding` is the Content-Encoding, or "".

    `read` decodes it: some proxies compress although we do not ask for it, and digests are of the content (RFC 9110,
    8.4).
    """

    def __init__(
        self, client: Client, origin: Origin, connection: http.client.HTTPConnection, response: http.client.HTTPResponse
    ) -> None:
        self.status = response.status
        self.headers = response.headers
        self.origin = origin
        self.length = response.length
        self.can_be_kept = True
        self.encoding = one_line(response.headers.get("Content-Encoding", ""), 40).lower().replace("identity", "")
        self._inflate = zlib.decompressobj(wbits=31)
        self._inflating = False
        self._client = client
        self._connection = connection
        self._response = response
        self._closed = False
        self._window = time.monotonic()  # start of the period over which the rate is measured
        self._got = 0  # bytes in it

    def read(self, size: int) -> bytes:
        """Return what has come, at most `size` bytes, or b"" at the end; raise Unavailable if it ends too early."""
        if not self.encoding:
            return self._read(size)
        if self.encoding not in ("gzip", "x-gzip"):
            raise VerificationError(f"{self.origin}: the answer is encoded in {self.encoding}, which was not asked for")
        try:
            return self._inflated(size)
        except zlib.error as error:
            raise VerificationError(
                f"{self.origin}: the answer is not in {self.encoding}, as it says: {error}"
            ) from None

    def _inflated(self, size: int) -> bytes:
        while not self._inflate.eof:
            data = self._inflate.unconsumed_tail or self._read(size)
            if not data and self._inflating:
                raise Unavailable(f"{self.origin}: the answer ended too early")
            if not data:
                return b""  # an answer without a body
            self._inflating = True
            piece = self._inflate.decompress(data, size)
            if piece:
                return piece
        return b""

    def _read(self, size: int) -> bytes:
        try:
            data = self._response.read1(size)
        except (OSError, http.client.HTTPException) as error:
            raise _unavailable(self.origin, error) from error
        if not data and self._response.length:
            raise Unavailable(f"{self.origin}: the connection was closed {self._response.length} bytes too early")
        if len(data) > size:  # http.client reads everything if a chunk's size is negative
            raise VerificationError(f"{self.origin}: a chunk of less than no bytes")
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
        """Keep the connection for the next request if the answer was read to its end, else close it."""
        if self._closed:
            return
        self._closed = True
        if self._response.length == 0:
            self._response.read()  # read1 does not mark an answer as complete
        if self.can_be_kept and self._response.isclosed() and not self._response.will_close:
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


def _is_whole(body: "Body") -> bool:
    return body is None or isinstance(body, bytes)


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
        raise OSError(f"the proxy {proxy.host}:{proxy.port} refuses: {one_line(line, 200)}")


def _proxy_headers(proxy: Proxy) -> "dict[str, str]":
    return {"Proxy-Authorization": proxy.authorization} if proxy.authorization else {}


def _host_header(origin: Origin) -> str:
    host = f"[{origin.host}]" if ":" in origin.host else origin.host
    default = 443 if origin.scheme == "https" else 80
    return host if origin.port == default else f"{host}:{origin.port}"


@contextmanager
def _deadline(sock: "socket.socket | None", seconds: float) -> "Iterator[None]":
    """Limit the time of all reads in the block together; the socket's timeout limits only each one."""
    timer = threading.Timer(seconds, _hang_up, (sock,))
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _hang_up(sock: "socket.socket | None") -> None:
    """Shut the socket down, so that the thread that waits for an answer sees a closed connection."""
    try:
        if sock is not None:
            sock.shutdown(socket.SHUT_RDWR)
    except OSError:
        pass  # already closed by the other side


def _unavailable(origin: Origin, error: Exception) -> NetworkError:
    text = one_line(getattr(error, "strerror", None) or str(error) or type(error).__name__, 300)
    if type(error).__name__ == "SSLCertVerificationError":
        return NetworkError(f"{origin}: {text}: put its authority into certs.d, or use --insecure")
    if getattr(error, "reason", "") in _NOT_TLS:
        return NetworkError(f"{origin}: server gave HTTP response to HTTPS client: to allow that, use --insecure")
    if isinstance(error, socket.gaierror) and error.errno == socket.EAI_NONAME:
        return NetworkError(f"{origin}: no such host: {text}")
    return Unavailable(f"{origin}: {text}")
