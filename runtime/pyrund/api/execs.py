"""Execs: create, start, inspect, resize."""

from pyrund.api.attach import give
from pyrund.api.running import sized
from pyrund.daemon import executions
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.spec.shape import FLAG, NUMBER, TEXT, check
from pyrund.streams import keys

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.exec import Exec

    Json = dict[str, Any]


_PATIENCE = 10.0  # seconds for an exec to start, before it can be resized: as dockerd's
_FLAGS = ("AttachStdin", "AttachStdout", "AttachStderr", "Privileged")
_START = {"Detach": FLAG, "Tty": FLAG, "ConsoleSize": [NUMBER]}
_SHAPE = {
    "Cmd": [TEXT],
    "Env": [TEXT],
    **dict.fromkeys(("User", "WorkingDir", "DetachKeys"), TEXT),
    **dict.fromkeys((*_FLAGS, "Tty"), FLAG),
    "ConsoleSize": [NUMBER],
}


def add_routes(router: "Router", engine: "Engine") -> None:
    execs = ExecsApi(engine)
    router.add("POST", "/containers/{}/exec", execs.create)
    router.add("POST", "/exec/{}/start", execs.start)
    router.add("GET", "/exec/{}/json", execs.inspect)
    router.add("POST", "/exec/{}/resize", execs.resize)


class ExecsApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def create(self, request: "Request") -> Response:
        engine = self._engine
        container = engine.containers.find(request.values[0])
        config = _config(request.json())
        await container.settled()
        executions.refuse_unless_running(container)
        return Response(201, {"Id": executions.create(engine, container, config).id})

    async def start(self, request: "Exchange") -> "Response | None":
        engine = self._engine
        exec_ = engine.exec(request.values[0])
        given = request.json()
        check(given, _START, "")
        container = engine.containers.find(exec_.container_id)
        if exec_.has_begun:
            raise ApiError(
                409, f"exec {exec_.id} has already {'run' if exec_.exit_code is not None else 'been started'}"
            )
        executions.refuse_unless_running(container)
        exec_.config["ConsoleSize"] = _console_size(given) or exec_.config["ConsoleSize"]
        exec_.has_begun = True
        if given.get("Detach"):
            exec_.config["AttachStdin"] = False
            await executions.start(engine, exec_)
            return Response(200)
        await self._attach(request, exec_, is_raw=bool(given.get("Tty")))
        try:
            await executions.start(engine, exec_)
        except (ApiError, OSError):
            pass  # the client has been shown why
        return None

    async def _attach(self, request: "Exchange", exec_: "Exec", is_raw: bool) -> None:
        """Show the exec to the client, `is_raw` or in frames: that is up to who starts it, whether it has a terminal or
        not."""
        config = exec_.config
        message = {
            "do": "attach",
            "id": exec_.id,
            "wanted": [name for name in ("stdout", "stderr") if config[f"Attach{name.capitalize()}"]],
            "stdin": config["AttachStdin"],
            "closes_stdin": True,
            "keys": config["DetachKeys"] or (keys.DEFAULT.decode() if config["Tty"] else ""),
            "stream": True,
            "history": "",
        }
        await give(self._engine, request, message, is_raw)

    async def inspect(self, request: "Request") -> Response:
        return Response(200, self._engine.exec(request.values[0]).described())

    async def resize(self, request: "Request") -> Response:
        exec_ = self._engine.exec(request.values[0])
        message = sized(exec_.id, request.number("h", 0), request.number("w", 0))
        if exec_.has_begun and not exec_.is_running and exec_.exit_code is None:
            await self._engine.loop.in_time(exec_.is_settled, _PATIENCE)
        if not exec_.is_running:
            raise ApiError(409, f"exec {exec_.id} is not running")
        await self._engine.streams.send(message)
        return Response(200)


def _config(given: "Json") -> "Json":
    """Return ExecConfig with all fields. Raises ApiError."""
    check(given, _SHAPE, "")
    command = given.get("Cmd")
    if not command:
        raise ApiError(400, "No exec command specified")
    texts = {name: given.get(name) or "" for name in ("User", "WorkingDir", "DetachKeys")}
    return {
        "Cmd": command,
        "Env": given.get("Env") or [],
        "Tty": bool(given.get("Tty")),
        "User": texts["User"],
        "WorkingDir": texts["WorkingDir"],
        "DetachKeys": keys.parse(texts["DetachKeys"]).decode("latin-1"),
        "ConsoleSize": _console_size(given),
        **{name: bool(given.get(name)) for name in _FLAGS},
    }


def _console_size(given: "Json") -> "list[int] | None":
    size: list[int] = given.get("ConsoleSize") or []
    if not size or size == [0, 0]:
        return None
    if len(size) != 2 or not all(0 <= one < 1 << 16 for one in size):
        raise ApiError(400, "invalid JSON: ConsoleSize: expected [height, width]")
    return size
