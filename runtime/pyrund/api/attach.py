"""Connections that become streams: attach and logs. The streams process gets the client's connection."""

import base64

from pyrund.errors import ApiError
from pyrund.http.response import MULTIPLEXED, RAW
from pyrund.http.websocket import accepted
from pyrund.model.times import rfc3339
from pyrund.spec import log_attributes
from pyrund.streams import keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.messages import Message

_SINCE_MESSAGES_ARE_BINARY, _SINCE_FRAMES_ARE_NAMED = (1, 28), (1, 42)


def add_routes(router: "Router", engine: "Engine") -> None:
    api = AttachApi(engine)
    router.add("POST", "/containers/{}/attach", api.attach)
    router.add("GET", "/containers/{}/attach/ws", api.attach_by_websocket)
    router.add("GET", "/containers/{}/logs", api.logs)


class AttachApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def attach(self, request: "Exchange") -> None:
        await self._attach(request, wanted(request), request.flag("stdin"), {})

    async def attach_by_websocket(self, request: "Exchange") -> None:
        """stdout and stderr come as they are, without frames of docker's; older clients cannot choose streams."""
        names, has_stdin = wanted(request), request.flag("stdin")
        if request.version < _SINCE_FRAMES_ARE_NAMED:
            names, has_stdin = ["stdout", "stderr"], True
        is_text = request.version < _SINCE_MESSAGES_ARE_BINARY
        websocket = {"accept": accepted(request), "text": is_text}
        await self._attach(request, names, has_stdin, {"websocket": websocket})

    async def _attach(self, request: "Exchange", names: "list[str]", has_stdin: bool, more: "Message") -> None:
        container = self._engine.containers.find(request.values[0])
        if container.is_paused:
            raise ApiError(409, f"container {container.id} is paused, unpause the container before attach")
        config = container.config
        detach = keys.parse(request.query.get("detachKeys", ""))
        has_history = request.flag("logs") and container.has_log
        message = {
            "do": "attach",
            "id": container.id,
            "wanted": names,
            "stdin": has_stdin and config["OpenStdin"],
            "closes_stdin": config["StdinOnce"],
            "keys": (detach or (keys.DEFAULT if config["Tty"] else b"")).decode("latin-1"),
            "stream": request.flag("stream"),
            "history": self._engine.places.log(container.id) if has_history else "",
            **more,
        }
        await give(self._engine, request, message, config["Tty"])
        if container.is_removing:  # the streams may have been ended before the process had the request
            await self._engine.streams.end(container.id)
        self._engine.events.of_container(container, "attach")

    async def logs(self, request: "Exchange") -> None:
        container = self._engine.containers.find(request.values[0])
        streams = wanted(request)
        if not streams:
            raise ApiError(400, "Bad parameters: you must choose at least one stream")
        if not container.has_log:
            raise ApiError(501, "configured logging driver does not support reading")
        message: Message = {
            "do": "logs",
            "id": container.id,
            "path": self._engine.places.log(container.id),
            "wanted": streams,
            "framed": not container.config["Tty"],
            "times": request.flag("timestamps"),
            "details": f"{log_attributes.shown(container)} " if request.flag("details") else "",
            "follows": request.flag("follow"),
            "tail": _tail(request.query.get("tail", "all")),
            "since": _time(request, "since"),
            "until": _time(request, "until"),
            "type": content_type(request, container.config["Tty"]),
        }
        request.connection.give_away()
        await self._engine.streams.send(message, (request.connection.fd,))


async def give(engine: "Engine", request: "Exchange", message: "Message", is_raw: bool) -> None:
    """Let the streams process answer the request, and have the connection for what `message` says."""
    ahead = request.connection.give_away()
    more = {
        "framed": not is_raw,
        "upgrades": request.upgrades,
        "type": content_type(request, is_raw) if request.upgrades else RAW,
        "ahead": base64.b64encode(ahead).decode(),
    }
    await engine.streams.send({**message, **more}, (request.connection.fd,))


def content_type(request: "Request", is_raw: bool) -> str:
    return RAW if is_raw or request.version < _SINCE_FRAMES_ARE_NAMED else MULTIPLEXED


def wanted(request: "Request") -> "list[str]":
    return [name for name in ("stdout", "stderr") if request.flag(name)]


def _tail(text: str) -> int:
    """Return the number of lines, -1 for all: docker takes anything that is not a number for that."""
    return int(text) if text.isascii() and text.isdigit() and len(text) < 10 else -1


def _time(request: "Request", name: str) -> str:
    """Return a time of the query as a log has it; "" for none."""
    moment = request.moment(name)
    return rfc3339(moment) if moment else ""
