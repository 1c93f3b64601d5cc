"""pyrund events."""

import time

from pyrund.client.listing import one
from pyrund.client.moments import moment
from pyrund.client.server import filters, flags

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    template = options.get("format", "")
    query = {
        **flags(since=moment(options, "since"), until=moment(options, "until")),
        **filters(options.get("filter", [])),
    }
    for event in server.ask("GET", "/events", query).values():
        print(one(event, template) if template else _line(event), flush=True)
    return 0


def _line(event: "dict[str, Any]") -> str:
    """Return "2026-01-31T12:00:00.123456789+01:00 container start ID (image=busybox, name=web)"."""
    moment_ = event["timeNano"]
    when = time.localtime(moment_ // 10**9)
    zone = time.strftime("%z", when)
    zone = "Z" if zone == "+0000" else f"{zone[:3]}:{zone[3:]}"
    clock = f"{time.strftime('%Y-%m-%dT%H:%M:%S', when)}.{moment_ % 10**9:09d}{zone}"
    attributes = ", ".join(f"{name}={value}" for name, value in sorted(event["Actor"]["Attributes"].items()))
    about = f" ({attributes})" if attributes else ""
    return f"{clock} {event['Type']} {event['Action']} {event['Actor']['ID']}{about}"
