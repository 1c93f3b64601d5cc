"""Files of containers: copied in and out, exported, and which of them have changed."""

from pyrund.api.answer import let_answer
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.launch.launcher import checked
from pyrund.messages import receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.messages import Message
    from pyrund.model.container import Container


def add_routes(router: "Router", engine: "Engine") -> None:
    api = ArchiveApi(engine)
    router.add("HEAD", "/containers/{}/archive", api.look)
    router.add("GET", "/containers/{}/archive", api.copy_out)
    router.add("PUT", "/containers/{}/archive", api.copy_in, streams_body=True)
    router.add("GET", "/containers/{}/export", api.export)
    router.add("GET", "/containers/{}/changes", api.changes)


class ArchiveApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def look(self, request: "Exchange") -> Response:
        _, message = await self._message(request, "copy_out")
        answer = await self._engine.launcher.do(self._engine.loop, message)
        return Response(200, headers={"X-Docker-Container-Path-Stat": answer["stat"]})

    async def copy_out(self, request: "Exchange") -> None:
        container, message = await self._message(request, "copy_out")
        await let_answer(self._engine, request, message)
        self._engine.events.of_container(container, "archive-path")

    async def export(self, request: "Exchange") -> None:
        container = await self._container(request)
        await let_answer(self._engine, request, {"do": "export", "id": container.id})
        self._engine.events.of_container(container, "export")

    async def changes(self, request: "Exchange") -> None:
        container = await self._container(request)
        await let_answer(self._engine, request, {"do": "changes", "id": container.id})

    async def copy_in(self, request: "Exchange") -> Response:
        """Have a worker take the archive. While a container that does not run is written to, it cannot be started."""
        engine = self._engine
        body = await request.connection.stream_body(request)
        container, message = await self._message(request, "copy_in")
        message.update(
            body=body, is_users=request.flag("copyUIDGID"), keeps_directories=request.flag("noOverwriteDirNonDir")
        )
        port = await engine.launcher.ask(engine.loop, message, (request.connection.fd,))
        try:
            answer = checked((await receive(engine.loop, port))[0])
            if answer.get("spooled"):
                async with container.turns:
                    if container.is_removing:
                        raise ApiError(404, f"No such container: {request.values[0]}")
                    port.send({"runs": container.is_running})
                    checked((await receive(engine.loop, port))[0])
        finally:
            engine.loop.close(port.detach())
            request.connection.take_back()
        engine.events.of_container(container, "extract-to-dir")
        return Response(200)

    async def _container(self, request: "Request") -> "Container":
        container = self._engine.containers.find(request.values[0])
        await container.settled()
        return container

    async def _message(self, request: "Request", verb: str) -> "tuple[Container, Message]":
        container = await self._container(request)
        path = request.query.get("path", "")
        if not path or "\0" in path:
            raise ApiError(400, "bad parameter: path cannot be empty")
        names = {"id": container.id, "name": request.values[0]}
        return container, {"do": verb, "path": path, "runs": container.is_running, **names}
