"""Events for clients: those of the past, and those to come."""

import time

from pyrund.api.filters import has_labels
from pyrund.errors import ApiError
from pyrund.http.response import JSON
from pyrund.loop import first

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.router import Router

    Json = dict[str, Any]

_AT_ONCE = 100  # events of the past that are looked at before others have their turn
_OBJECTS = ("container", "daemon", "network", "plugin", "volume", "config", "node", "secret", "service")
_WITH_DETAILS = frozenset(("health_status", "exec_create", "exec_start"))  # actions that go on with a colon


def add_routes(router: "Router", engine: "Engine") -> None:
    async def events(request: "Exchange") -> None:
        await _send(engine, request)

    router.add("GET", "/events", events)


async def _send(engine: "Engine", request: "Exchange") -> None:
    """Send the events from `since` on, until `until` or until the client goes."""
    since, until = request.moment("since"), request.moment("until")
    if since is not None and until is not None and until < since:
        text = request.query
        raise ApiError(400, f"`since` time ({text['since']}) cannot be after `until` time ({text['until']})")
    filters, events, connection = request.filters(), engine.events, request.connection

    async def send(event: "Json") -> None:
        if (since or 0) <= event["timeNano"] <= (until or event["timeNano"]) and _is_wanted(event, filters):
            await connection.send(event)

    connection.close_after_this()
    await connection.begin(200, {"Content-Type": JSON})
    closed = engine.loop.spawn(connection.is_closed())
    last = events.last
    if since is not None or until is not None:
        for number, event in enumerate(events.recorded()):
            await send(event)
            if number % _AT_ONCE == 0:
                await engine.loop.sleep(0)
    end = closed if until is None else engine.loop.sleep(max(0.0, until / 1e9 - time.time()))
    while True:
        following = events.next
        for number, event in events.after(last):
            last = number
            await send(event)
        if closed.is_done or end.is_done:
            break
        await first(following, closed, end)
    await connection.end()


def _is_wanted(event: "Json", filters: "dict[str, list[str]]") -> bool:
    """Return whether the event has all that the filters name, as dockerd understands them: it passes over unknown ones,
    and a container's name, or the beginning of it, may be that of a volume too."""
    id_, attributes = event["Actor"]["ID"], event["Actor"]["Attributes"]
    image = attributes.get("name" if event["Type"] == "image" else "image", "")
    tests: dict[str, Callable[[str], bool]] = {
        "type": lambda wanted: wanted == event["Type"],
        "scope": lambda wanted: wanted == event["scope"],
        "event": lambda wanted: wanted == event["Action"],
        "image": lambda wanted: wanted in (id_, image, _without_tag(id_), _without_tag(image)),
    }
    if _WITH_DETAILS.intersection(filters.get("event", [])):
        tests["event"] = event["Action"].startswith
    for name in _OBJECTS:
        tests[name] = lambda wanted: id_.startswith(wanted) or attributes.get("name", "").startswith(wanted)
    return has_labels(attributes, filters) and all(
        any(map(tests[name], wanted)) for name, wanted in filters.items() if name in tests and wanted
    )


def _without_tag(image: str) -> str:
    before, colon, tag = image.rpartition(":")
    return before if colon and "/" not in tag else image
