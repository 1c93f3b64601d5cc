"""Frames of WebSockets: what a client sends, in whatever pieces it comes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from pyrund.streams.frames import BINARY, CLOSE, CONTINUATION, PING, TEXT, Reader, Violation, frame, unmasked

MASK = b"\x01\x80\xff\x7f"


def sent(opcode, payload, fin=True):
    """Return a frame as a client sends it."""
    made = bytearray(frame(opcode, payload))
    made[0] = opcode | (0x80 if fin else 0)
    made[1] |= 0x80
    start = len(made) - len(payload)
    return bytes(made[:start]) + MASK + unmasked(payload, MASK)


def read(*pieces):
    reader, data, controls = Reader(), b"", []
    for piece in pieces:
        for opcode, payload in reader.feed(piece):
            if opcode == BINARY:
                data += payload
            else:
                controls.append((opcode, payload))
    return data, controls


@given(st.lists(st.binary(max_size=300), max_size=5), st.integers(1, 50))
def test_messages_are_read_in_whatever_pieces_they_come(messages, size):
    stream = b"".join(sent(BINARY, message) + sent(PING, message[:125]) for message in messages)

    pieces = [stream[start : start + size] for start in range(0, len(stream), size)]

    assert read(*pieces) == (b"".join(messages), [(PING, message[:125]) for message in messages])


@pytest.mark.parametrize("size", [0, 125, 126, 65535, 65536, 300_000])
def test_each_form_of_a_length_is_read(size):
    assert read(sent(TEXT, b"x" * size)) == (b"x" * size, [])


def test_a_message_in_fragments_may_have_controls_between_them():
    stream = sent(TEXT, b"ab", fin=False) + sent(PING, b"!") + sent(CONTINUATION, b"cd") + sent(CLOSE, b"\x03\xe8")

    assert read(stream) == (b"abcd", [(PING, b"!"), (CLOSE, b"\x03\xe8")])


@pytest.mark.parametrize(
    "data",
    [
        frame(BINARY, b"no mask"),
        sent(BINARY, b"x", fin=False) + sent(BINARY, b"a message within a message"),
        sent(CONTINUATION, b"of nothing"),
        sent(PING, b"x" * 126),
        sent(PING, b"x", fin=False),
        sent(3, b"unknown"),
        bytes([0xC2]) + sent(BINARY, b"compressed")[1:],
        b"\x82\xff\xff" + bytes(7) + MASK,
    ],
)
def test_what_breaks_the_protocol_is_refused(data):
    with pytest.raises(Violation):
        read(data)


def test_data_of_an_endless_message_is_not_held_back():
    reader = Reader()
    head = b"\x82\xff\x7f" + b"\xff" * 7 + MASK  # 2^63 - 1 bytes

    for _ in range(100):
        assert list(reader.feed(head + MASK * 256)) == [(BINARY, bytes(1024))]
        head = b""
