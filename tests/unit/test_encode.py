"""encode(): JSON that the standard library reads back, laid out as Go does."""

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.encode import encode

VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(), inner, max_size=4),
    max_leaves=20,
)


@given(VALUES, st.sampled_from(["", "  ", "\t"]))
def test_what_is_written_is_read_back(value, indent):
    assert json.loads(encode(value, indent)) == value


@given(VALUES)
def test_without_indentation_it_is_one_line(value):
    assert "\n" not in encode(value)


@given(VALUES, st.sampled_from(["  ", "    ", "\t"]))
def test_it_is_laid_out_as_the_standard_library_does(value, indent):
    expected = json.dumps(value, indent=indent, ensure_ascii=False)
    assert encode(value, indent) == "".join(
        one if one.isprintable() or one in "\n\t" else json.dumps(one)[1:-1] for one in expected
    )


@given(VALUES)
def test_it_cannot_steer_a_terminal(value):
    """Also not by what JSON lets stand, such as CSI of C1, and marks of direction."""
    assert encode(value).isprintable()


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (None, "null"),
        (True, "true"),
        (False, "false"),
        (0, "0"),
        (-1, "-1"),
        (1 << 64, "18446744073709551616"),
        (1.5, "1.5"),
        ("", '""'),
        ([], "[]"),
        ({}, "{}"),
        ({"a": [1, "b"], "c": {}}, '{"a":[1,"b"],"c":{}}'),
        ('"\\\n\t\x00', '"\\"\\\\\\n\\t\\u0000"'),
        ("\u00e9\U0001f600", '"\u00e9\U0001f600"'),
        ("\x7f\x9b31m\u202e\U000e0001", '"\\u007f\\u009b31m\\u202e\\udb40\\udc01"'),
    ],
)
def test_a_value_is_written_so(value, text):
    assert encode(value) == text


def test_empty_ones_stay_on_their_line():
    assert encode({"list": [], "object": {}}, "  ") == '{\n  "list": [],\n  "object": {}\n}'


def test_the_order_is_that_of_the_object():
    assert encode({"b": 1, "a": 2}) == '{"b":1,"a":2}'


def test_bytes_of_a_path_that_are_no_text_survive():
    path = b"/caf\xe9".decode("utf-8", "surrogateescape")

    assert encode(path).encode("utf-8", "surrogateescape") == b'"/caf\xe9"'
