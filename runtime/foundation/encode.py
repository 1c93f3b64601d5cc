"""Objects to JSON, in the layout of Go's encoding/json. (`import json` costs 3 to 4 ms.)"""

from _json import encode_basestring, make_encoder

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def encode(value: "Any", indent: str = "") -> str:
    """Return `value` as JSON: on one line, or with `indent` at the start of lines, once per level."""
    return _indented(value, indent, "\n") if indent else "".join(_encoder(value, 0))


def _indented(value: "Any", indent: str, margin: str) -> str:
    if not value or not isinstance(value, (dict, list, tuple)):
        return encode(value)
    inner = margin + indent
    if isinstance(value, dict):
        items = [f"{_string(key)}: {_indented(member, indent, inner)}" for key, member in value.items()]
        return "{" + inner + ("," + inner).join(items) + margin + "}"
    return "[" + inner + ("," + inner).join(_indented(member, indent, inner) for member in value) + margin + "]"


def _string(text: str) -> str:
    """Return `text` as JSON that cannot steer a terminal: U+009B begins a control sequence, U+202E turns the text."""
    quoted = str(encode_basestring(text))
    return quoted if quoted.isprintable() else "".join(map(_escaped, quoted))


def _escaped(character: str) -> str:
    code = ord(character)
    if character.isprintable() or 0xDC80 <= code <= 0xDCFF:  # a byte that is not UTF-8 (surrogateescape)
        return character
    if code > 0xFFFF:
        return f"\\u{0xD7C0 + (code >> 10):04x}\\u{0xDC00 + (code & 0x3FF):04x}"
    return f"\\u{code:04x}"


# The encoder of the module json, which is in C. A tuple, or another iterable, becomes an array.
_encoder = make_encoder(None, list, _string, None, ":", ",", False, False, True)
