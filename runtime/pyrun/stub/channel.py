"""Messages ("words") between the runtime and the process that it makes; a word can carry descriptors.

The channel is a pair of SOCK_SEQPACKET sockets: each packet is a word. A side that fails sends its reason, and the
other side raises it. With each word the kernel gives the sender's pid (SO_PASSCRED, unix(7)).
"""

import _socket  # the C part alone: `import socket` costs 3 to 4 ms

from foundation.errors import Error
from foundation.linux.socketpair import SEQPACKET, socketpair
from pyrun.stub.report import read_report

_FAILURE = b"!"
_MAXIMUM = 1 << 16
_DESCRIPTORS = 64
_CREDENTIALS_SIZE = 12
_MSG_CMSG_CLOEXEC = 0x40000000


class Channel:
    """One end of the channel. Python must close it; the stub inherits the descriptor and closes it itself."""

    def __init__(self, socket: "_socket.socket") -> None:
        self._socket = socket

    @staticmethod
    def pair() -> "tuple[Channel, Channel]":
        """Return the two ends, both close-on-exec; the first one receives the sender's pid with each word."""
        ours, theirs = socketpair(SEQPACKET)
        ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        return Channel(ours), Channel(theirs)

    def fileno(self) -> int:
        """Return the descriptor, which stays the channel's."""
        return self._socket.fileno()

    def close(self) -> None:
        """Close this end: the other side then hears that this one has ended, once no other process has it open."""
        self._socket.close()

    def say(self, word: str, descriptors: "list[int] | None" = None) -> None:
        """Send `word`, with copies of `descriptors`, which stay open here.

        Raises what the other side reported if it has ended.
        """
        rights = b"".join(fd.to_bytes(4, "little") for fd in descriptors or [])
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
        try:
            self._socket.sendmsg([word.encode("utf-8", "surrogateescape")], ancillary)
        except (BrokenPipeError, ConnectionResetError):
            self.hear("why")  # the other side has ended: this raises the reason that it sent before
            raise

    def fail(self, reason: str) -> None:
        """Send the reason why this side ends; the other side raises it as an Error."""
        self._socket.send(_FAILURE + reason.encode("utf-8", "surrogateescape")[: _MAXIMUM - 1])

    def hear(self, expected: str) -> "Heard":
        """Wait for the word `expected`, which text may follow. The caller closes the descriptors that come with it.

        Raises Error with the other side's reason if that failed, the OSError of its report if the stub failed, and
        Ended if the other side ended without a reason.
        """
        packet, ancillary = self._receive()
        word = expected.encode()
        if packet == word or packet.startswith(word + b" "):
            return Heard(packet[len(word) + 1 :].decode("utf-8", "surrogateescape"), ancillary)
        report = read_report(packet)
        if report is not None:
            raise report
        raise Ended(f'the other side ended before it said "{expected}"')

    def raise_reason(self) -> None:
        """If the other side has failed by now, raise Error with its reason, or Ended if it has ended without one.

        For an error of what was done to it: that also fails because the other side has ended, and then says only so.
        """
        try:
            packet, _ = self._receive(_socket.MSG_DONTWAIT)
        except BlockingIOError:
            return
        if not packet:
            raise Ended("the other side has ended")

    def _receive(self, flags: int = 0) -> "tuple[bytes, list[tuple[int, int, bytes]]]":
        """Return a packet and what came with it, b"" if the other side has ended. Raises Error with its reason."""
        ancillary_size = _socket.CMSG_SPACE(4 * _DESCRIPTORS) + _socket.CMSG_SPACE(_CREDENTIALS_SIZE)
        flags |= _MSG_CMSG_CLOEXEC
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(_MAXIMUM, ancillary_size, flags)
        except ConnectionResetError:
            # Linux reports ECONNRESET once if the peer closed with unread data; what the peer sent is still queued.
            packet, ancillary, _, _ = self._socket.recvmsg(_MAXIMUM, ancillary_size, flags)
        # Check for a reason first: its text may be exactly ROW_SIZE long. No report starts with "!": a report starts
        # with the errno, and that one would be 33, EDOM, which none of the stub's calls returns.
        if packet.startswith(_FAILURE):
            raise Error(packet[1:].decode("utf-8", "surrogateescape"))
        return packet, ancillary

    def next(self) -> str:
        """Wait for any word; return "" if the other side has closed its end."""
        return self._socket.recv(_MAXIMUM).decode("utf-8", "surrogateescape")

    def hear_end(self) -> None:
        """Wait until the other side has closed its end; raise the OSError of a report if one comes instead."""
        packet = self._socket.recv(_MAXIMUM)
        report = read_report(packet)
        if report is not None:
            raise report


class Ended(Error):
    """The other side has ended without giving a reason."""


class Heard:
    """A word that was received: the text after it, the sender's pid in our pid namespace, and the descriptors."""

    def __init__(self, text: str, ancillary: "list[tuple[int, int, bytes]]") -> None:
        self.text = text
        self.pid = 0
        self.descriptors: list[int] = []
        for _, kind, data in ancillary:
            integers = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) // 4 * 4, 4)]
            if kind == _socket.SCM_RIGHTS:
                self.descriptors = integers
            elif kind == _socket.SCM_CREDENTIALS:
                self.pid = integers[0]  # struct ucred, unix(7)
