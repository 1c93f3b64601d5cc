"""Objects to JSON, in the layout of Go's encoding/json. (`import json` costs 3 to 4 ms.)"""

from _json import encode_basestring

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def encode(value: "Any", indent: str = "", _margin: str = "\n") -> str:
    """Return `value` as JSON: on one line, or with `indent` at the start of lines, once per level."""
    if value is None:
        return "null"
    if value is True:
        return "true"
    if value is False:
        return "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, (int, float)):
        return repr(value)
    inner = _margin + indent
    if isinstance(value, dict):
        colon = ": " if indent else ":"
        items = [_string(key) + colon + encode(member, indent, inner) for key, member in value.items()]
        return _enclose("{", items, "}", indent, _margin)
    return _enclose("[", [encode(member, indent, inner) for member in value], "]", indent, _margin)


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


def _enclose(opening: str, items: "list[str]", closing: str, indent: str, margin: str) -> str:
    if not indent or not items:
        return opening + ",".join(items) + closing
    inner = margin + indent
    return opening + inner + ("," + inner).join(items) + margin + closing
