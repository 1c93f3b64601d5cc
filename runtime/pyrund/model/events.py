"""Events: what has happened to which object, told to all that listen, and remembered for a while."""

import time
from collections import deque

from pyrund.loop import Future

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.container import Container

    Json = dict[str, Any]

_REMEMBERED = 256
_OLD_KINDS = ("container", "image")  # whose events have the fields of docker's first versions, too


class Events:
    def __init__(self) -> None:
        self.past: deque[tuple[int, Json]] = deque(maxlen=_REMEMBERED)  # (number, event)
        self.next: Future[None] = Future()  # done when something happens
        self.last = 0  # the number of the last event

    def tell(self, kind: str, action: str, id_: str, attributes: "dict[str, str]", image: str = "") -> None:
        now = time.time_ns()
        old = {"status": action, "id": id_} if kind in _OLD_KINDS else {}
        event: Json = {
            **old,
            **({"from": image} if image else {}),
            "Type": kind,
            "Action": action,
            "Actor": {"ID": id_, "Attributes": attributes},
            "scope": "local",
            "time": now // 1_000_000_000,
            "timeNano": now,
        }
        self.last += 1
        self.past.append((self.last, event))
        told, self.next = self.next, Future()
        told.set(None)

    def of_container(self, container: "Container", action: str, **more: str) -> None:
        image = container.config["Image"]
        attributes = {**container.config["Labels"], "image": image, "name": container.name, **more}
        self.tell("container", action, container.id, attributes, image)

    def after(self, number: int) -> "list[tuple[int, Json]]":
        return [one for one in self.past if one[0] > number]
