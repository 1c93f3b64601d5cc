"""Events: what has happened to which object, told to all that listen, and remembered for a while."""

import json
import time
from collections import deque

from pyrund.loop import Future
from pyrund.model.event_log import EventLog

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyrund.model.container import Container
    from pyrund.model.images import Image

    Json = dict[str, Any]

_REMEMBERED = 256  # for clients that do not read as fast as things happen
_OLD_KINDS = ("container", "image")  # whose events have the fields of docker's first versions, too


class Events:
    """`path` is that of the log on disk."""

    def __init__(self, path: str) -> None:
        self._log = EventLog(path)
        self._recent: deque[tuple[int, Json]] = deque(maxlen=_REMEMBERED)  # (number, event)
        self.next: Future[None] = Future()  # done when something happens
        self.last = 0  # the number of the last event

    def tell(
        self, kind: str, action: str, id_: str, attributes: "dict[str, str]", image: str = "", moment: int = 0
    ) -> None:
        """Tell what has happened, now or at `moment` in nanoseconds since the epoch."""
        moment = moment or time.time_ns()
        old = {"status": action, "id": id_} if kind in _OLD_KINDS else {}
        event: Json = {
            **old,
            **({"from": image} if image else {}),
            "Type": kind,
            "Action": action,
            "Actor": {"ID": id_, "Attributes": attributes},
            "scope": "local",
            "time": moment // 1_000_000_000,
            "timeNano": moment,
        }
        self._log.append(json.dumps(event).encode() + b"\n")
        self.last += 1
        self._recent.append((self.last, event))
        told, self.next = self.next, Future()
        told.set(None)

    def of_container(self, container: "Container", action: str, moment: int = 0, **more: str) -> None:
        image = container.config["Image"]
        attributes = {**container.config["Labels"], "image": image, "name": container.name, **more}
        self.tell("container", action, container.id, attributes, image, moment)

    def of_image(self, image: "Image", action: str, name: str = "") -> None:
        """Tell what has happened to the image. The event names it by `name`, or by its id if that is empty."""
        self.tell("image", action, image.id, {**image.labels, "name": name or image.id})

    def of_names(self, image: "Image | None", names: "list[str]") -> None:
        """Tell that the image, if nobody has removed it meanwhile, has got names, which are as users write them."""
        if image:
            for name in names:
                self.of_image(image, "tag", name)

    def after(self, number: int) -> "list[tuple[int, Json]]":
        return [one for one in self._recent if one[0] > number]

    def recorded(self) -> "Iterator[Json]":
        """Return the events of the log as it is now, by their times: an end may be told when it is long past."""
        return _parsed(sorted(self._log.lines(), key=_moment))

    def last_of_containers(self, *actions: str) -> "dict[tuple[str, str], int]":
        """Return when each of `actions` has last happened to each container: {(its id, action): nanoseconds}."""
        hints = [b'"%b"' % action.encode() for action in actions]
        events = _parsed([line for line in self._log.lines() if any(hint in line for hint in hints)])
        return {
            (event["Actor"]["ID"], event["Action"]): event["timeNano"]
            for event in events
            if event["Type"] == "container" and event["Action"] in actions
        }


def _moment(line: bytes) -> int:
    """Return the time of an event, which stands at its line's end."""
    digits = line[line.rfind(b" ") + 1 : -1]
    return int(digits) if digits.isdigit() else 0


def _parsed(lines: "list[bytes]") -> "Iterator[Json]":
    for line in lines:
        try:
            yield json.loads(line)
        except ValueError:
            continue  # the disk is damaged
