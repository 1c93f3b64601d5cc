"""Streams as the daemon sends them: without a terminal, each piece comes behind its stream and its length."""

_HEAD = 8
_STDERR = 2


class Frames:
    """Takes the frames apart; without `is_framed` all is of standard output, as of a terminal."""

    def __init__(self, is_framed: bool) -> None:
        self._is_framed = is_framed
        self._held = b""  # the beginning of a frame

    def pieces(self, data: bytes) -> "list[tuple[int, bytes]]":
        """Return (1 or 2 for the standard stream, bytes) of all frames that `data` completes."""
        if not self._is_framed:
            return [(1, data)] if data else []
        data = self._held + data
        found, begin = [], 0
        while len(data) >= begin + _HEAD:
            end = begin + _HEAD + int.from_bytes(data[begin + 4 : begin + _HEAD], "big")
            if len(data) < end:
                break
            found.append((2 if data[begin] == _STDERR else 1, data[begin + _HEAD : end]))
            begin = end
        self._held = data[begin:]
        return found
