"""Containers that run: start, stop, kill, pause, wait, top."""

from foundation.errors import Error, reason
from pyrund.api.answer import let_answer
from pyrund.api.checkpoints import wanted_path
from pyrund.daemon import lifecycle, stopping
from pyrund.errors import ApiError
from pyrund.http.connection import Gone
from pyrund.http.response import JSON, Response
from pyrund.loop import first
from pyrund.spec import signals

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.loop import Future
    from pyrund.model.container import Container

    Json = dict[str, Any]

_SIGKILL = 9
_LONGEST_NOTHING = 7  # bytes of a body that older clients send for nothing, as dockerd counts them


def add_routes(router: "Router", engine: "Engine") -> None:
    running = RunningApi(engine)
    for name, handler in (
        ("start", running.start),
        ("stop", running.stop),
        ("restart", running.restart),
        ("kill", running.kill),
        ("pause", running.pause),
        ("unpause", running.unpause),
        ("wait", running.wait),
        ("resize", running.resize),
    ):
        router.add("POST", f"/containers/{{}}/{name}", handler)
    router.add("GET", "/containers/{}/top", running.top)
    router.add("GET", "/containers/{}/stats", running.stats)


class RunningApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    def _container(self, request: "Request") -> "Container":
        return self._engine.containers.find(request.values[0])

    async def _settled(self, request: "Request") -> "Container":
        container = self._container(request)
        await container.settled()
        return container

    async def start(self, request: "Request") -> Response:
        if len(request.body) > _LONGEST_NOTHING:  # a HostConfig, which must not be ignored
            why = "was deprecated since API v1.22 and removed in v1.24"
            raise ApiError(400, f"starting container with non-empty request body {why}")
        container = self._container(request)
        has_started = await lifecycle.start(self._engine, container, wanted_path(container, request))
        return Response(204 if has_started else 304)

    async def stop(self, request: "Request") -> Response:
        has_stopped = await self._stop(request)
        return Response(204 if has_stopped else 304)

    async def _stop(self, request: "Request") -> bool:
        signal = request.query.get("signal", "")
        if signal:
            signals.number(signal)
        patience = request.number("t", 0) if request.query.get("t") else None
        return await stopping.stop(self._engine, await self._settled(request), patience, signal)

    async def restart(self, request: "Request") -> Response:
        container = self._container(request)
        container.restarts += 1
        try:
            await self._stop(request)
        finally:
            container.restarts -= 1
        await lifecycle.start(self._engine, container)
        self._engine.events.of_container(container, "restart")
        return Response(204)

    async def kill(self, request: "Request") -> Response:
        container = await self._settled(request)
        number = signals.number(request.query.get("signal") or "KILL")
        if number == _SIGKILL and container.is_active:
            await stopping.kill(self._engine, container)
            return Response(204)
        try:
            await stopping.deliver(self._engine, container, number)
        except ApiError as error:
            raise ApiError(409, f"cannot kill container: {request.values[0]}: {error}") from None
        return Response(204)

    async def pause(self, request: "Request") -> Response:
        await stopping.freeze(self._engine, self._container(request))
        return Response(204)

    async def unpause(self, request: "Request") -> Response:
        container = self._container(request)
        async with container.turns:
            if not await stopping.thaw(self._engine, container):
                raise ApiError(409, f"container {container.id} is not paused")
        return Response(204)

    async def wait(self, request: "Exchange") -> None:
        """Answer when the container has ended or is removed. The head comes at once: the client waits for it."""
        container = self._container(request)
        condition = request.query.get("condition") or "not-running"
        if condition not in ("not-running", "next-exit", "removed"):
            raise ApiError(400, f'invalid condition: "{condition[:80]}"')
        why: Json = {}
        has_ended = condition == "not-running" and not container.is_active
        future = container.removed if condition == "removed" else container.next_exit
        await request.connection.begin(200, {"Content-Type": JSON})
        if has_ended:
            code = container.document["ExitCode"]
        else:
            closed = self._engine.loop.spawn(request.connection.is_closed())
            await first(future, container.removed, closed)
            if not (future.is_done or container.removed.is_done):
                raise Gone  # or the client sends what it must not: the response has no end
            code, why = await _outcome(container, future if future.is_done else container.removed)
        await request.connection.send({"StatusCode": code, **why})
        await request.connection.end()

    async def resize(self, request: "Request") -> Response:
        container = await self._settled(request)
        height, width = request.number("h", 0), request.number("w", 0)
        if not container.is_running:
            raise ApiError(409, f"container {container.id} is not running")
        await self._engine.streams.send(sized(container.id, height, width))
        self._engine.events.of_container(container, "resize", height=str(height), width=str(width))
        return Response(200)

    async def top(self, request: "Exchange") -> None:
        container = await self._settled(request)
        if not container.is_running:
            raise ApiError(409, f"container {container.id} is not running")
        options = request.query.get("ps_args") or "-ef"
        if "\0" in options:
            raise ApiError(400, "bad parameter: ps_args: a text cannot hold a zero byte")
        await let_answer(self._engine, request, {"do": "processes", "id": container.id, "options": options})
        self._engine.events.of_container(container, "top")

    async def stats(self, request: "Exchange") -> "Response | None":
        engine, container = self._engine, await self._settled(request)
        message = {
            "do": "stats",
            "id": container.id,
            "name": container.name,
            "shares_network": container.network == "host",
            "is_single": request.flag("one-shot"),
        }
        streams = request.flag("stream") or "stream" not in request.query
        if streams and request.flag("one-shot"):
            raise ApiError(400, "cannot have stream=true and one-shot=true")
        if not streams:
            return Response(200, await engine.launcher.do(engine.loop, message))
        await let_answer(engine, request, message)
        return None


async def _outcome(container: "Container", future: "Future[int]") -> "tuple[int, Json]":
    """Return the exit status that `future` has, and why a removal has failed."""
    try:
        return await future, {}
    except (ApiError, Error, OSError) as error:
        return container.document["ExitCode"], {"Error": {"Message": reason(error)}}


def sized(id_: str, height: int, width: int) -> "dict[str, object]":
    """Return the message that gives the terminal of a container or exec a size."""
    for size in (height, width):
        if not 0 <= size < 1 << 16:
            raise ApiError(400, f"invalid size of a terminal: {size}")
    return {"do": "resize", "id": id_, "height": height, "width": width}
