"""TLS: bytes between an encrypted connection and a plain one, in a process of its own.

The engine passes connections from process to process, which the state of an encrypted one cannot follow. So both the
daemon and the client talk to a socket, and a process that knows the keys sits between that and the network.
"""

import _socket
import select
import ssl
import time
from collections import defaultdict

from foundation.linux import os

_READ = 64 << 10
_MOST = 256 << 10  # bytes that wait for a slow side
_HANDSHAKE = 10.0  # seconds: others wait until there is room for them, and nobody has shown a certificate yet


class Carrier:
    """The connection `network` of TLS, and the socket `plain`. The handshake must be done before bytes are carried."""

    def __init__(self, context: ssl.SSLContext, network: "_socket.socket", is_server: bool, name: "str | None") -> None:
        self._network = network
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._tls = context.wrap_bio(self._incoming, self._outgoing, is_server, name)
        self._to_network = self._to_plain = b""
        self._is_server = is_server
        self._plain = network  # until carry()
        self._is_open: dict[int, bool] = defaultdict(lambda: True)  # descriptor -> it may send more

    def shake_hands(self) -> None:
        """Raises OSError, of which ssl's errors are."""
        ready = select.poll()
        ready.register(self._network.fileno(), select.POLLIN)
        end = time.monotonic() + _HANDSHAKE
        while True:
            try:
                self._tls.do_handshake()
            except ssl.SSLWantReadError:
                self._network.sendall(self._outgoing.read())
                if not ready.poll(max(0.0, 1000 * (end - time.monotonic()))):
                    raise OSError("the handshake takes too long") from None
                self._receive(self._network.recv(_READ))
                continue
            finally:
                if self._outgoing.pending:
                    self._network.sendall(self._outgoing.read())  # an alert, too
            return

    def carry(self, plain: "_socket.socket") -> None:
        """Carry bytes until there are no more answers, or one side has gone. Raises OSError."""
        self._plain = plain
        for one in (plain, self._network):
            one.setblocking(False)
        self._is_open[self._network.fileno()] = self._decrypt()
        while not self._has_ended():
            for fd, event in self._wait():
                if event & select.POLLOUT:
                    self._send(fd)
                if event & ~select.POLLOUT and self._is_open[fd]:
                    self._take(fd)
                elif event & select.POLLHUP:
                    return

    def _has_ended(self) -> bool:
        """The side that answers is the plain one of a server, and the other one of a client."""
        if self._is_server:
            return not (self._is_open[self._plain.fileno()] or self._to_network)
        return not (self._is_open[self._network.fileno()] or self._to_plain)

    def _wait(self) -> "list[tuple[int, int]]":
        waiting = select.poll()
        for fd, to_other, to_it in (
            (self._network.fileno(), self._to_plain, self._to_network),
            (self._plain.fileno(), self._to_network, self._to_plain),
        ):
            reads = self._is_open[fd] and len(to_other) < _MOST
            waiting.register(fd, (select.POLLIN if reads else 0) | (select.POLLOUT if to_it else 0))
        return waiting.poll()

    def _send(self, fd: int) -> None:
        if fd == self._plain.fileno():
            self._to_plain = self._to_plain[self._plain.send(self._to_plain) :]
            self._pass_end()
        else:
            self._to_network = self._to_network[self._network.send(self._to_network) :]

    def _take(self, fd: int) -> None:
        """Receive what has come from `fd`."""
        if fd == self._plain.fileno():
            data = self._plain.recv(_READ)
            self._is_open[fd] = bool(data)
            self._encrypt(data)
            return
        self._receive(self._network.recv(_READ))
        self._is_open[fd] = self._decrypt()
        self._pass_end()

    def _pass_end(self) -> None:
        """Tell the plain side that no more comes, when it has got all."""
        if not self._is_open[self._network.fileno()] and not self._to_plain:
            try:
                self._plain.shutdown(_socket.SHUT_WR)
            except OSError:
                pass  # it has gone

    def _receive(self, data: bytes) -> None:
        if data:
            self._incoming.write(data)
        else:
            self._incoming.write_eof()

    def _decrypt(self) -> bool:
        """Take what has come; return False at the end."""
        while True:
            try:
                data = self._tls.read(_READ)
            except ssl.SSLWantReadError:
                return True
            except (ssl.SSLZeroReturnError, ssl.SSLEOFError):
                return False
            finally:
                self._to_network += self._outgoing.read()
            if not data:
                return False
            self._to_plain += data

    def _encrypt(self, data: bytes) -> None:
        """Send `data`, or if it is empty that no more comes."""
        try:
            if data:
                self._tls.write(data)
            else:
                self._tls.unwrap()
        except ssl.SSLError:
            pass  # the other side's answer to the end is not waited for
        self._to_network += self._outgoing.read()


def server_context(files: "dict[str, str]", verifies: bool) -> ssl.SSLContext:
    """Return the context of the daemon. Raises OSError for a file that is missing or no certificate."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.load_cert_chain(files["tlscert"], files["tlskey"])
    if verifies:
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(files["tlscacert"])
    return context


def client_context(files: "dict[str, str]", verifies: bool) -> ssl.SSLContext:
    """Return the context of a client. Raises OSError."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if verifies:
        context.load_verify_locations(files["tlscacert"])
    else:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    if os.path.exists(files["tlscert"]):
        context.load_cert_chain(files["tlscert"], files["tlskey"])
    return context
