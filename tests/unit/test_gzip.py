"""gzip's members, whose headers and trailers are read by us, beside zlib, which reads them by itself."""

import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyfetch.errors import VerificationError
from pyfetch.unpack.gzip import Gzip

MOST = 1000
HEADER_CRC, EXTRA, NAME, COMMENT = 2, 4, 8, 16


def unpacked(data, cuts=(), has_digest=False):
    """Give the data in pieces, which end at `cuts`; return what comes out."""
    gzip = Gzip(MOST, has_digest)
    places = [0, *sorted(cuts), len(data)]
    output = [piece for begin, end in zip(places, places[1:]) for piece in gzip.decompress(data[begin:end])]
    output += gzip.finish()
    assert all(len(piece) <= MOST for piece in output)
    return b"".join(output)


def by_zlib(data):
    output = b""
    while data.startswith(b"\x1f\x8b"):
        member = zlib.decompressobj(wbits=31)
        output += member.decompress(data)
        if not member.eof:
            raise zlib.error("too early")
        data = member.unused_data
    return output


def member(content, flags=0, extra=b"", name=b"", comment=b""):
    header = b"\x1f\x8b\x08" + bytes([flags]) + bytes(6)
    if flags & EXTRA:
        header += struct.pack("<H", len(extra)) + extra
    header += (name + b"\0") * (flags & NAME != 0) + (comment + b"\0") * (flags & COMMENT != 0)
    if flags & HEADER_CRC:
        header += struct.pack("<H", zlib.crc32(header) & 0xFFFF)
    packing = zlib.compressobj(wbits=-15)
    trailer = struct.pack("<II", zlib.crc32(content), len(content))
    return header + packing.compress(content) + packing.flush() + trailer


TEXT = st.binary(max_size=40).map(lambda text: text.replace(b"\0", b""))
CONTENT = st.builds(lambda some, count: some + b"many " * count, st.binary(max_size=40), st.integers(0, 2000))
MEMBER = st.builds(member, CONTENT, st.integers(0, 31), st.binary(max_size=40), TEXT, TEXT)
DATA = st.builds(
    lambda members, rest: b"".join(members) + rest,
    st.lists(MEMBER, min_size=1, max_size=3),
    st.sampled_from([b"", bytes(100), b"junk", b"\x1f"]),
)


@given(DATA, st.data())
def test_members_with_any_header_are_unpacked_wherever_the_pieces_end(data, drawn):
    cuts = drawn.draw(st.lists(st.integers(0, len(data)), max_size=5))

    assert unpacked(data, cuts) == unpacked(data, cuts, has_digest=True) == by_zlib(data)


@given(DATA, st.data())
def test_damage_is_noticed_if_zlib_notices_it(data, drawn):
    place = drawn.draw(st.integers(2, len(data) - 1))
    damaged = bytearray(data)
    damaged[place] ^= 1 << drawn.draw(st.integers(0, 7))
    damaged = bytes(damaged[: drawn.draw(st.sampled_from([len(data), place + 1]))])
    cuts = drawn.draw(st.lists(st.integers(0, len(damaged)), max_size=5))
    try:
        expected = by_zlib(damaged)
    except zlib.error:
        with pytest.raises(VerificationError, match="the gzip data (are damaged: |end too early)"):
            unpacked(damaged, cuts)
    else:
        assert unpacked(damaged, cuts) == expected


@given(DATA)
def test_pieces_of_a_byte_each_are_enough(data):
    assert unpacked(data, range(len(data))) == by_zlib(data)


def test_only_the_checksum_is_ignored_if_the_content_has_a_digest():
    good = member(b"content")
    other_sum = good[:-8] + bytes(4) + good[-4:]
    other_size = good[:-4] + bytes(4)

    assert unpacked(other_sum, has_digest=True) == b"content"
    with pytest.raises(VerificationError, match="the gzip data are damaged: incorrect data check"):
        unpacked(other_sum)
    for has_digest in (False, True):
        with pytest.raises(VerificationError, match="the gzip data are damaged: incorrect length check"):
            unpacked(other_size, has_digest=has_digest)


def test_a_header_without_an_end_takes_no_memory_without_end():
    gzip = Gzip(MOST, False)
    list(gzip.decompress(b"\x1f\x8b\x08" + bytes([NAME]) + bytes(6)))
    with pytest.raises(VerificationError, match="a header of more than 256 KiB"):
        for _ in range(1000):
            list(gzip.decompress(b"n" * 1000))
