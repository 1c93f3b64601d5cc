"""--since and --until: a time, or a duration before now."""

import calendar
import time

from foundation.durations import nanoseconds
from pyrund.client.values import refused

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.options import Options

_FORMS = ("%Y-%m-%dT%H:%M:%S", "%Y-%m-%dT%H:%M", "%Y-%m-%dT%H", "%Y-%m-%d")


def moment(options: "Options", name: str) -> str:
    """Return the value of --name as seconds since the epoch; "" if it is not given. Raises Refused."""
    text = options.get(name, "")
    whole, _, fraction = text.partition(".")
    if not text or (whole + fraction).isdigit():
        return str(text)
    try:
        return str((time.time_ns() - nanoseconds(text)) // 10**9)  # docker's client too leaves the fraction out
    except ValueError:
        pass
    found = _parsed(text)
    if found is None:
        raise refused(name, text, "expected a time such as 2026-01-31T12:00:00Z, seconds, or 10m for ago")
    return found


def _parsed(text: str) -> "str | None":
    """Return the seconds of an RFC 3339 time; without a zone it is of here."""
    clock, zone = text, ""
    if text.endswith("Z"):
        clock, zone = text[:-1], "+00:00"
    elif text[-6:-5] in ("+", "-") and text[-3:-2] == ":" and "T" in text:
        clock, zone = text[:-6], text[-6:]
    clock, _, fraction = clock.partition(".")
    for form in _FORMS:
        try:
            parts = time.strptime(clock, form)
        except ValueError:
            continue
        whole = calendar.timegm(parts) - _offset(zone) if zone else int(time.mktime(parts[:8] + (-1,)))
        return f"{whole}.{fraction[:9].ljust(9, '0')}" if fraction.isdigit() else str(whole)
    return None


def _offset(zone: str) -> int:
    seconds = int(zone[1:3]) * 3600 + int(zone[4:]) * 60
    return -seconds if zone[0] == "-" else seconds
