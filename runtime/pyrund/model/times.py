"""Times as docker writes them."""

import time

ZERO = "0001-01-01T00:00:00Z"


def now() -> str:
    return rfc3339(time.time_ns())


def rfc3339(nanoseconds: int) -> str:
    """Return a time since the epoch with nine decimals, so that times can be compared as texts."""
    whole = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(nanoseconds // 1_000_000_000))
    return f"{whole}.{nanoseconds % 1_000_000_000:09d}Z"


def seconds(text: str) -> float:
    """Return an RFC 3339 time of UTC as seconds since the epoch; 0 for one that is not, as of a strange image."""
    return nanoseconds(text) / 1e9


def nanoseconds(text: str) -> int:
    """Return the same in nanoseconds."""
    import datetime  # small, but only lists of containers need it

    try:
        # time.strptime() takes so much longer that this was a third of the time of a list of containers.
        whole = datetime.datetime.fromisoformat(text[:19])
    except ValueError:
        return 0
    if text[4:19:3] != "--T::":
        return 0  # newer versions of Python take other forms too
    elapsed = whole - datetime.datetime(1970, 1, 1)
    point, digits = text[19:20], text[20:29].rstrip("Z")
    fraction = int(digits.ljust(9, "0")) if point == "." and digits.isascii() and digits.isdigit() else 0
    return (elapsed.days * 86_400 + elapsed.seconds) * 1_000_000_000 + fraction


def duration(elapsed: float) -> str:
    """Return a duration for people, in the words of docker's go-units."""
    whole = int(elapsed)
    if whole < 1:
        return "Less than a second"
    if whole == 1:
        return "1 second"
    if whole < 60:
        return f"{whole} seconds"
    minutes = int(elapsed / 60)
    if minutes == 1:
        return "About a minute"
    if minutes < 60:
        return f"{minutes} minutes"
    hours = int(elapsed / 3600 + 0.5)
    if hours == 1:
        return "About an hour"
    for most, size, unit in ((48, 1, "hours"), (24 * 14, 24, "days"), (24 * 60, 24 * 7, "weeks")):
        if hours < most:
            return f"{hours // size} {unit}"
    if hours < 24 * 365 * 2:
        return f"{hours // 24 // 30} months"
    return f"{int(elapsed / 3600) // 24 // 365} years"
