"""The part of D-Bus that calling systemd and receiving its signals needs (D-Bus Specification 0.41).

Values are plain Python values next to a D-Bus signature: integers, strings, lists for arrays, tuples for structures,
and (signature, value) for a variant. Floating point numbers and descriptors are not supported.
"""

import _socket
from errno import ECONNRESET

from foundation.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_CALL, _RETURN, _ERROR, _SIGNAL = 1, 2, 3, 4
# Header fields: code, signature.
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = (
    (1, "o"),
    (2, "s"),
    (3, "s"),
    (4, "s"),
    (5, "u"),
    (6, "s"),
    (8, "g"),
)
_HEADER = "yyyyuua(yv)"
_FIXED_HEADER = 16  # bytes, up to and including the length of the array of fields
_INTEGERS = {"y": 1, "b": 4, "n": 2, "q": 2, "i": 4, "u": 4, "x": 8, "t": 8}
_SIGNED = "nix"
_ALIGNMENTS = {**_INTEGERS, "s": 4, "o": 4, "g": 1, "v": 1, "a": 4, "(": 8, "{": 8}
_TIMEOUT = 30.0  # seconds
_MAXIMUM = 1 << 27


class CallError(Error):
    """The service answered a call with an error; `name` is the D-Bus name of the error."""

    def __init__(self, name: str, message: str) -> None:
        super().__init__(message or name)
        self.name = name


class Signal:
    """A received signal: the name of its member, and its arguments."""

    def __init__(self, member: str, arguments: "list[Any]") -> None:
        self.member = member
        self.arguments = arguments


class Connection:
    """A connection to the socket `path`, which is the service's own, or a message bus if `bus` is true.

    Raises OSError if nobody listens there, Error if we are refused. Waiting for data times out after 30 seconds.
    """

    def __init__(self, path: str, bus: bool) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM | _socket.SOCK_CLOEXEC, 0)
        self._socket.settimeout(_TIMEOUT)
        self._serial = 0
        self._signals: list[Signal] = []
        self._socket.connect(path)
        self._authenticate()
        if bus:
            self.call("org.freedesktop.DBus", "/org/freedesktop/DBus", "org.freedesktop.DBus", "Hello")

    def _authenticate(self) -> None:
        """Send no uid, so that the server takes it from SO_PEERCRED: in a user namespace ours would differ."""
        # All in one write: systemd ignores a message that arrives in the same read as a separate BEGIN.
        self._socket.sendall(b"\0AUTH EXTERNAL\r\nDATA\r\nBEGIN\r\n")
        answer = b""
        while answer.count(b"\r\n") < 2 and not answer.startswith(b"REJECTED"):
            answer += self._receive(1)
        if not answer.startswith(b"DATA\r\nOK "):
            raise Error(f"D-Bus: we are refused: {answer.decode('ascii', 'replace').strip()}")

    def call(
        self, destination: str, path: str, interface: str, member: str, signature: str = "", *arguments: "Any"
    ) -> "list[Any]":
        """Call a method and return the values of its reply. Raises CallError if the reply is an error."""
        self._serial += 1
        fields = [(_PATH, path), (_INTERFACE, interface), (_MEMBER, member), (_DESTINATION, destination)]
        if signature:
            fields.append((_SIGNATURE, signature))
        body = _Writer()
        body.put_all(signature, arguments)
        message = _Writer()
        entries = [(code, (type_, value)) for (code, type_), value in fields]
        message.put_all(_HEADER, (ord("l"), _CALL, 0, 1, len(body.data), self._serial, entries))
        message.align(8)
        self._socket.sendall(bytes(message.data + body.data))
        while True:
            kind, found, values = self._read()
            if found.get(_REPLY_SERIAL[0]) != self._serial:
                continue
            if kind == _ERROR:
                raise CallError(found[_ERROR_NAME[0]], str(values[0]) if values else "")
            return values

    def next_signal(self) -> Signal:
        """Return the next signal: first those that arrived during calls, in order; then wait for one."""
        while not self._signals:
            self._read()
        return self._signals.pop(0)

    def _read(self) -> "tuple[int, dict[int, Any], list[Any]]":
        """Read a message and return (kind, fields of the header by code, values)."""
        start = self._receive(_FIXED_HEADER)
        if start[:1] != b"l":
            raise Error("D-Bus: a message of the other byte order")
        body_size, fields_size = (int.from_bytes(start[at : at + 4], "little") for at in (4, 12))
        header_size = _FIXED_HEADER + fields_size
        padding = -header_size % 8
        if header_size + body_size > _MAXIMUM:
            raise Error("D-Bus: a message longer than messages can be")
        rest = self._receive(fields_size + padding + body_size)
        *_, entries = _Reader(start + rest).get_all(_HEADER)
        fields = {code: value for code, (_, value) in entries}
        values = _Reader(rest[fields_size + padding :]).get_all(fields.get(_SIGNATURE[0], ""))
        if start[1] == _SIGNAL:
            self._signals.append(Signal(fields[_MEMBER[0]], values))
        return start[1], fields, values

    def _receive(self, size: int) -> bytes:
        data = b""
        while len(data) < size:
            part = self._socket.recv(size - len(data))
            if not part:
                raise OSError(ECONNRESET, "D-Bus: the connection was closed")
            data += part
        return data


class _Writer:
    """Encodes values. The start of the data counts as aligned to every size."""

    def __init__(self) -> None:
        self.data = bytearray()

    def align(self, size: int) -> None:
        """Pad with NULs to a multiple of `size` bytes."""
        self.data += bytes(-len(self.data) % size)

    def put_all(self, signature: str, values: "Any") -> None:
        """Append the values of the types in `signature`."""
        for type_, value in zip(_types(signature), values):
            self.put(type_, value)

    def put(self, type_: str, value: "Any") -> None:
        """Append one value of the complete type `type_`, aligned."""
        kind = type_[0]
        self.align(_ALIGNMENTS[kind])
        if kind in _INTEGERS:
            self.data += int(value).to_bytes(_INTEGERS[kind], "little", signed=kind in _SIGNED)
        elif kind in "so":
            text = value.encode()
            self.put("u", len(text))
            self.data += text + b"\0"
        elif kind == "g":
            self.data += bytes([len(value)]) + value.encode() + b"\0"
        elif kind == "v":
            self.put("g", value[0])
            self.put(*value)
        elif kind == "a":
            self._put_array(type_[1:], value)
        else:
            self.put_all(type_[1:-1], value)

    def _put_array(self, type_: str, values: "Any") -> None:
        self.put("u", 0)
        length_at = len(self.data) - 4
        self.align(_ALIGNMENTS[type_[0]])
        start = len(self.data)
        for value in values:
            self.put(type_, value)
        self.data[length_at : length_at + 4] = (len(self.data) - start).to_bytes(4, "little")


class _Reader:
    """Decodes values, with the same alignment as _Writer."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def get_all(self, signature: str) -> "list[Any]":
        """Return the next values, of the types in `signature`. Raises Error if the data ends too early."""
        return [self._get(type_) for type_ in _types(signature)]

    def _get(self, type_: str) -> "Any":
        kind = type_[0]
        self._align(_ALIGNMENTS[kind])
        if kind in _INTEGERS:
            return int.from_bytes(self._take(_INTEGERS[kind]), "little", signed=kind in _SIGNED)
        if kind in "sog":
            text = self._take(self._get("y" if kind == "g" else "u")).decode("utf-8", "replace")
            self._take(1)
            return text
        if kind == "v":
            signature = self._get("g")
            return signature, self._get(signature)
        if kind == "a":
            return self._get_array(type_[1:])
        return tuple(self.get_all(type_[1:-1]))

    def _get_array(self, type_: str) -> "list[Any]":
        size = self._get("u")
        self._align(_ALIGNMENTS[type_[0]])
        end = self._at + size
        values = []
        while self._at < end:
            values.append(self._get(type_))
        return values

    def _align(self, size: int) -> None:
        self._at += -self._at % size

    def _take(self, size: int) -> bytes:
        taken = self._data[self._at : self._at + size]
        if len(taken) != size:
            raise Error("D-Bus: a message that ends too early")
        self._at += size
        return taken


def _types(signature: str) -> "list[str]":
    """Return the complete types that `signature` is made of: "ua(sv)" is "u" and "a(sv)"."""
    found, start, depth = [], 0, 0
    for end, character in enumerate(signature, 1):
        depth += (character in "({") - (character in ")}")
        if depth == 0 and character != "a":
            found.append(signature[start:end])
            start = end
    return found
