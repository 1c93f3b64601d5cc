"""Decompression of gzip: RFC 1952, whose members hold the deflate data of RFC 1951.

zlib is given the deflate data alone. Of whole members it would compute the CRC-32 too, which takes a tenth of the time,
and a layer is verified by its digests.
"""

import zlib

from pyfetch.errors import VerificationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

MAGIC = b"\x1f\x8b"
_DEFLATE = 8  # the only method
_HEADER_CRC, _EXTRA, _NAME, _COMMENT = 2, 4, 8, 16  # flags, with 1 for text
_RESERVED = 0xE0
_FIXED, _TRAILER = 10, 8  # bytes
_LONGEST_HEADER = 256 << 10  # bytes: two have a name or a comment of any length


class Gzip:
    """One or more members. Anything else behind the last one is padding, and ignored as by gzip(1).

    One step gives at most `most` bytes. With `has_digest` the caller verifies the content, and checksums are ignored.
    """

    def __init__(self, most: int, has_digest: bool) -> None:
        self._most = most
        self._has_digest = has_digest
        self._member: zlib._Decompress | None = None  # behind the header of a member: what inflates it
        self._crc = self._size = 0  # of what the member has given
        self._held = b""  # the beginning of a header or of a trailer
        self._is_padding = False

    def decompress(self, data: bytes) -> "Iterator[bytes]":
        data, self._held = self._held + data, b""
        while data and not self._is_padding:
            if self._member is None:
                data = self._begin(data)
            elif self._member.eof:
                data = self._end(data)
            else:
                output, data = self._step(self._member, data)
                if output:
                    yield output

    def finish(self) -> "Iterator[bytes]":
        if self._member is not None or len(self._held) >= len(MAGIC):
            raise VerificationError("the gzip data end too early")
        return iter(())

    def _begin(self, data: bytes) -> bytes:
        """Begin a member if its header is whole; return what follows. Less than the magic number decides nothing."""
        if len(data) >= len(MAGIC) and not data.startswith(MAGIC):
            self._is_padding = True
            return b""
        end = _end_of_header(data)
        if not end:
            self._held = data
            return b""
        self._member = zlib.decompressobj(wbits=-zlib.MAX_WBITS)
        self._crc = self._size = 0
        return data[end:]

    def _step(self, member: "zlib._Decompress", data: bytes) -> "tuple[bytes, bytes]":
        try:
            output = member.decompress(data, self._most)
        except zlib.error as error:
            raise _damaged(str(error)) from None
        self._size += len(output)
        if not self._has_digest:
            self._crc = zlib.crc32(output, self._crc)
        return output, member.unused_data if member.eof else member.unconsumed_tail

    def _end(self, data: bytes) -> bytes:
        """End the member if its trailer is whole; return what follows."""
        if len(data) < _TRAILER:
            self._held = data
            return b""
        if not self._has_digest and int.from_bytes(data[:4], "little") != self._crc:
            raise _damaged("incorrect data check")
        if int.from_bytes(data[4:_TRAILER], "little") != self._size & 0xFFFFFFFF:
            raise _damaged("incorrect length check")
        self._member = None
        return data[_TRAILER:]


def _end_of_header(data: bytes) -> int:
    """Return the size of the header that `data` begins with, or 0 if it is not whole."""
    if len(data) < _FIXED:
        return 0
    flags, end = data[3], _FIXED
    if data[2] != _DEFLATE:
        raise _damaged("unknown compression method")
    if flags & _RESERVED:
        raise _damaged("unknown header flags set")
    if flags & _EXTRA:
        end += 2 + int.from_bytes(data[end : end + 2], "little")
    for flag in (_NAME, _COMMENT):
        if flags & flag and end:
            end = data.find(b"\0", end) + 1
    if flags & _HEADER_CRC and end:
        crc = zlib.crc32(data[:end]) & 0xFFFF
        end += 2
        if end <= len(data) and int.from_bytes(data[end - 2 : end], "little") != crc:
            raise _damaged("header crc mismatch")
    if 0 < end <= len(data):
        return end
    if len(data) > _LONGEST_HEADER:
        raise _damaged(f"a header of more than {_LONGEST_HEADER >> 10} KiB")
    return 0


def _damaged(why: str) -> VerificationError:
    return VerificationError(f"the gzip data are damaged: {why}")
