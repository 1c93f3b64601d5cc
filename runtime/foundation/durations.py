"""Durations as Go writes them: "5s", "1h30m", "250ms", "1.5s"."""

_UNITS = {"ns": 1, "us": 10**3, "µs": 10**3, "ms": 10**6, "s": 10**9, "m": 60 * 10**9, "h": 3600 * 10**9}
_LONGEST = 20  # digits of a number


def nanoseconds(text: str) -> int:
    """Return the duration; none if `text` is empty. Raises ValueError."""
    total, rest = 0.0, text if text != "0" else ""
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        rest = rest[len(number) :]
        unit = rest[: len(rest) - len(rest.lstrip("nuµmsh"))]
        rest = rest[len(unit) :]
        if unit not in _UNITS or len(number) > _LONGEST:
            raise ValueError(f"{text!r} is no duration such as 1m30s")
        total += float(number) * _UNITS[unit]
    if total >= 1 << 63:
        raise ValueError(f"{text!r} is longer than any duration")
    return int(total)
