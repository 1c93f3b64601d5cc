"""Frames of a WebSocket, as a server reads and writes them (RFC 6455, section 5).

What a client sends is a stream of bytes here: where a message ends does not matter. So no message is ever held as a
whole, however long it is.
"""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG = 0, 1, 2, 8, 9, 10
NORMAL, PROTOCOL_ERROR = b"\x03\xe8", b"\x03\xea"  # status codes of CLOSE: 1000 and 1002
_FIN, _OPCODE, _CONTROL, _MASKED = 0x80, 0x0F, 0x08, 0x80
_RESERVED = 0x70
_LONGEST_OF_CONTROL = 125
_SHORT, _LONG = 126, 127  # instead of a length: it follows, in 2 or 8 bytes
_MASK = 4


class Violation(Exception):
    """The client does not keep to the protocol."""


class Reader:
    """Takes frames apart; feed() gets the bytes as they come."""

    def __init__(self) -> None:
        self._data = b""
        self._at = 0  # where in it the next frame, or the rest of one, begins
        self._missing = 0  # bytes of a data frame whose beginning has come
        self._mask = b""
        self._is_open = False  # the last data frame was not the end of its message

    def feed(self, data: bytes) -> "Iterator[tuple[int, bytes]]":
        """Yield (BINARY, a piece of data) and (CLOSE, PING or PONG, payload). Raises Violation."""
        self._data, self._at = self._data[self._at :] + data, 0
        while self._at < len(self._data):
            if self._missing:
                yield BINARY, self._next_piece()
                continue
            head = self._head()
            if head is None:
                return
            opcode, payload = head
            if opcode & _CONTROL:
                yield opcode, payload

    def _next_piece(self) -> bytes:
        found = unmasked(self._take(min(self._missing, len(self._data) - self._at)), self._mask)
        self._missing -= len(found)
        turn = len(found) % _MASK
        self._mask = self._mask[turn:] + self._mask[:turn]
        return found

    def _take(self, size: int) -> bytes:
        self._at += size
        return self._data[self._at - size : self._at]

    def _head(self) -> "tuple[int, bytes] | None":
        """Take the head of a frame, and the payload of one of control; return None if it is not there as a whole."""
        there = len(self._data) - self._at
        if there < 2:
            return None
        first, second = self._data[self._at : self._at + 2]
        opcode, length = first & _OPCODE, second & ~_MASKED
        self._check(first, opcode, length, bool(second & _MASKED))
        extended = {_SHORT: 2, _LONG: 8}.get(length, 0)
        size = 2 + extended + _MASK
        if there < size + (length if opcode & _CONTROL else 0):
            return None
        head = self._take(size)
        if extended:
            length = int.from_bytes(head[2 : 2 + extended], "big")
        if length >> 63:
            raise Violation("a length of more than 63 bits")
        if opcode & _CONTROL:
            return opcode, unmasked(self._take(length), head[-_MASK:])
        self._is_open = not first & _FIN
        self._missing, self._mask = length, head[-_MASK:]
        return opcode, b""

    def _check(self, first: int, opcode: int, length: int, is_masked: bool) -> None:
        if first & _RESERVED or opcode not in (CONTINUATION, TEXT, BINARY, CLOSE, PING, PONG):
            raise Violation("an extension that was not agreed on")
        if not is_masked:
            raise Violation("a frame without a mask")
        if opcode & _CONTROL:
            if not first & _FIN or length > _LONGEST_OF_CONTROL:
                raise Violation("a frame of control in pieces, or longer than 125 bytes")
        elif self._is_open != (opcode == CONTINUATION):
            raise Violation("a continuation of nothing, or a message within another")


def unmasked(data: bytes, mask: bytes) -> bytes:
    """Return `data` with each byte changed by the next one of `mask`, in turn."""
    size = len(data)
    repeated = (mask * (size // _MASK + 1))[:size]
    return (int.from_bytes(data, "little") ^ int.from_bytes(repeated, "little")).to_bytes(size, "little")


def frame(opcode: int, payload: bytes) -> bytes:
    """Return a whole message, or a frame of control, without a mask: that is the client's part."""
    size = len(payload)
    if size < _SHORT:
        length = bytes([size])
    elif size < 1 << 16:
        length = bytes([_SHORT]) + size.to_bytes(2, "big")
    else:
        length = bytes([_LONG]) + size.to_bytes(8, "big")
    return bytes([_FIN | opcode]) + length + payload
