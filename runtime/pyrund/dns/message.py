"""Messages of DNS (RFC 1035): a question is read, an answer is written. What others answer is passed on as it is."""

import _socket

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

A, PTR, AAAA = 1, 12, 28
NO_ERROR, SERVER_FAILURE = 0, 2
_INTERNET = 1
_HEADER = 12
_IS_RESPONSE, _OPCODE, _RECURSION_DESIRED, _RECURSION_AVAILABLE, _IS_TRUNCATED = 0x8000, 0x7800, 0x100, 0x80, 0x200
_LONGEST_LABEL, _LONGEST_NAME = 63, 255
_NAME_OF_THE_QUESTION = b"\xc0\x0c"  # a pointer to it (4.1.4)
_SECONDS = 600  # as dockerd's
_SMALLEST_PACKET = 512  # what a client takes by UDP (4.2.1)
_REVERSED, _REVERSED_IPV6 = ".in-addr.arpa", ".ip6.arpa"
_HEXADECIMAL = frozenset("0123456789abcdef")


class Malformed(Exception):
    """The message is not a question that can be answered."""


class Question:
    """A query. `name` has no dot at its end and is in lower case; `text` are the bytes of the question section."""

    def __init__(self, data: bytes) -> None:
        """Raises Malformed."""
        if len(data) < _HEADER:
            raise Malformed
        self.id, self.flags, questions = (int.from_bytes(data[at : at + 2], "big") for at in (0, 2, 4))
        if self.flags & (_IS_RESPONSE | _OPCODE) or questions != 1:
            raise Malformed
        labels, end = _labels(data)
        self.name = b".".join(labels).decode("latin-1").lower()
        self.type, self.kind = (int.from_bytes(data[at : at + 2], "big") for at in (end, end + 2))
        if len(data) < end + 4:
            raise Malformed
        self.text = data[_HEADER : end + 4]

    @property
    def address(self) -> str:
        """The address whose name is asked for, "" if it is another question."""
        if self.type != PTR:
            return ""
        if self.name.endswith(_REVERSED):
            return ".".join(reversed(self.name[: -len(_REVERSED)].split(".")))
        digits = self.name[: -len(_REVERSED_IPV6)].replace(".", "")[::-1]
        if not self.name.endswith(_REVERSED_IPV6) or len(digits) != 32 or not set(digits) <= _HEXADECIMAL:
            return ""
        return _socket.inet_ntop(_socket.AF_INET6, bytes.fromhex(digits))

    def answered(self, answers: "Iterable[bytes]", code: int = NO_ERROR, size: int = _SMALLEST_PACKET) -> bytes:
        """Return the response with `answers`, the data of records of the type that is asked for, as far as they fit
        into `size` bytes."""
        flags = _IS_RESPONSE | self.flags & _RECURSION_DESIRED | _RECURSION_AVAILABLE | code
        records = b""
        count = 0
        for data in answers:
            head = self.type.to_bytes(2, "big") + _INTERNET.to_bytes(2, "big") + _SECONDS.to_bytes(4, "big")
            record = _NAME_OF_THE_QUESTION + head + len(data).to_bytes(2, "big") + data
            if _HEADER + len(self.text) + len(records) + len(record) > size:
                flags |= _IS_TRUNCATED
                break
            records += record
            count += 1
        numbers = (self.id, flags, 1, count, 0, 0)
        return b"".join(number.to_bytes(2, "big") for number in numbers) + self.text + records

    def is_answered_by(self, data: bytes, id_: int) -> bool:
        """Return whether `data` is a response to this question that was asked as number `id_`."""
        head = id_.to_bytes(2, "big")
        same = data[_HEADER : _HEADER + len(self.text)].lower() == self.text.lower()
        return len(data) >= _HEADER and data[:2] == head and bool(data[2] & 0x80) and same


def written(name: str) -> bytes:
    """Return a name as the data of a record. What does not fit into one is left out."""
    labels = (label.encode("latin-1", "replace")[:_LONGEST_LABEL] for label in name.split(".") if label)
    return b"".join(bytes([len(label)]) + label for label in labels)[: _LONGEST_NAME - 1] + b"\0"


def _labels(data: bytes) -> "tuple[list[bytes], int]":
    """Return the labels of the question's name, and where they end. It has no pointers, since nothing is before it."""
    labels: list[bytes] = []
    at = _HEADER
    while at < len(data):
        length = data[at]
        if length == 0:
            return labels, at + 1
        if length > _LONGEST_LABEL or at + 1 + length - _HEADER > _LONGEST_NAME:
            raise Malformed
        labels.append(data[at + 1 : at + 1 + length])
        at += 1 + length
    raise Malformed
