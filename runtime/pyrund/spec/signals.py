"""Signals by their names or numbers, as clients and images give them."""

import _signal

from pyrund.errors import ApiError

_NUMBERS = {
    name[3:]: int(number) for name, number in vars(_signal).items() if name.startswith("SIG") and "_" not in name
}
_LAST = 64


def number(text: str) -> int:
    """Return the number of "TERM", "SIGTERM", "15" or "RTMIN+3". Raises ApiError."""
    if text.isascii() and text.isdigit():
        value = int(text[:4])
    else:
        upper = text.upper()
        name, plus, more = (upper[3:] if upper.startswith("SIG") else upper).partition("+")
        value = _NUMBERS.get(name, 0)
        if plus:
            value = value + int(more) if name == "RTMIN" and more.isascii() and more.isdigit() else 0
    if not 0 < value <= _LAST:
        raise ApiError(400, f"invalid signal: {text[:80]}")
    return value
