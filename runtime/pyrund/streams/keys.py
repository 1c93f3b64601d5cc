"""The keys by which a client leaves a container that goes on: ctrl-p ctrl-q, unless it names others."""

from pyrund.errors import ApiError

DEFAULT = b"\x10\x11"
_CONTROLS = "@abcdefghijklmnopqrstuvwxyz[\\]^_"  # their codes are their positions


def parse(text: str) -> bytes:
    """Return the bytes of "ctrl-a,b". Raises ApiError."""
    keys = b""
    for word in text.split(",") if text else []:
        letter = word[5:].lower() if word.lower().startswith("ctrl-") else ""
        if len(letter) == 1 and letter in _CONTROLS:
            keys += bytes([_CONTROLS.index(letter)])
        elif len(word) == 1 and word.isascii():
            keys += word.encode()
        else:
            raise ApiError(400, f"Invalid detach keys ({text[:80]}) provided")
    return keys


class Scanner:
    """Looks for `keys` in what a client types."""

    def __init__(self, keys: bytes) -> None:
        self._keys = keys
        self._held = b""  # the beginning of the keys, which may go on

    def scan(self, data: bytes) -> "tuple[bytes, bool]":
        """Return what is for the container, and whether the client has typed the keys."""
        if not self._keys:
            return data, False
        data, self._held = self._held + data, b""
        place = data.find(self._keys)
        if place >= 0:
            return data[:place], True
        for size in range(min(len(self._keys) - 1, len(data)), 0, -1):
            if data.endswith(self._keys[:size]):
                self._held = data[-size:]
                return data[:-size], False
        return data, False
