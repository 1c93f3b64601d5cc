"""Words between the runtime and the process that it makes; a word can carry descriptors.

One pair of sockets of type SOCK_SEQPACKET: a packet is a word. A side that fails says so, and the other raises it. The
kernel tells who spoke (SO_PASSCRED).
"""

import _socket  # the C part alone: `import socket` costs 3 to 4 ms

from pyrun.errors import Error
from pyrun.launch.table import read_report

_FAILURE = b"!"
_MAXIMUM = 1 << 16
_DESCRIPTORS = 64
_CREDENTIALS_SIZE = 12
_MSG_CMSG_CLOEXEC = 0x40000000


class Channel:
    def __init__(self, socket: "_socket.socket") -> None:
        self._socket = socket

    @staticmethod
    def pair() -> "tuple[Channel, Channel]":
        ours, theirs = _socket.socketpair(_socket.AF_UNIX, _socket.SOCK_SEQPACKET | _socket.SOCK_CLOEXEC, 0)
        ours.setsockopt(_socket.SOL_SOCKET, _socket.SO_PASSCRED, 1)
        return Channel(ours), Channel(theirs)

    def fileno(self) -> int:
        return self._socket.fileno()

    def close(self) -> None:
        self._socket.close()

    def say(self, word: str, descriptors: "list[int] | None" = None) -> None:
        rights = b"".join(fd.to_bytes(4, "little") for fd in descriptors or [])
        ancillary = [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, rights)] if rights else []
        try:
            self._socket.sendmsg([word.encode("utf-8", "surrogateescape")], ancillary)
        except (BrokenPipeError, ConnectionResetError):
            self.hear("why")  # the other side has ended: raises the reason, which it gave before
            raise

    def fail(self, reason: str) -> None:
        """Tell the other side why this one ends."""
        self._socket.send(_FAILURE + reason.encode("utf-8", "surrogateescape")[: _MAXIMUM - 1])

    def hear(self, expected: str) -> "Heard":
        """Wait for the word `expected`.

        Raises Error with the other side's reason where that failed, the OSError of a report where the last mile did.
        """
        ancillary_size = _socket.CMSG_SPACE(4 * _DESCRIPTORS) + _socket.CMSG_SPACE(_CREDENTIALS_SIZE)
        try:
            packet, ancillary, _, _ = self._socket.recvmsg(_MAXIMUM, ancillary_size, _MSG_CMSG_CLOEXEC)
        except ConnectionResetError:  # told once, where a word of ours was left unheard; the other's own are next
            packet, ancillary, _, _ = self._socket.recvmsg(_MAXIMUM, ancillary_size, _MSG_CMSG_CLOEXEC)
        # Before the reports: a reason can have their size, and none of them begins so, which would be errno 223.
        if packet.startswith(_FAILURE):
            raise Error(packet[1:].decode("utf-8", "surrogateescape"))
        report = read_report(packet)
        if report is not None:
            raise report
        if packet.decode("utf-8", "replace") != expected:
            raise Error(f'container init ended before it said "{expected}"')
        return Heard(ancillary)

    def hear_end(self) -> None:
        """Wait until the other side's last descriptor is closed; raise what it reports instead."""
        packet = self._socket.recv(_MAXIMUM)
        report = read_report(packet)
        if report is not None:
            raise report


class Heard:
    """What came with a word: the sender's pid, as seen from our pid namespace, and descriptors."""

    def __init__(self, ancillary: "list[tuple[int, int, bytes]]") -> None:
        self.pid = 0
        self.descriptors: list[int] = []
        for _, kind, data in ancillary:
            integers = [int.from_bytes(data[i : i + 4], "little") for i in range(0, len(data) // 4 * 4, 4)]
            if kind == _socket.SCM_RIGHTS:
                self.descriptors = integers
            elif kind == _socket.SCM_CREDENTIALS:
                self.pid = integers[0]  # struct ucred, unix(7)
