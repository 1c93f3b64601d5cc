"""Checkpoints: a container that runs is written to files, from which it goes on later."""

from foundation.linux import os
from pyrund.daemon import stopping
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.model.names import is_name
from pyrund.spec.shape import FLAG, TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.messages import Message
    from pyrund.model.container import Container


_SHAPE = {"CheckpointID": TEXT, "CheckpointDir": TEXT, "Exit": FLAG}


def add_routes(router: "Router", engine: "Engine") -> None:
    api = CheckpointsApi(engine)
    router.add("POST", "/containers/{}/checkpoints", api.create)
    router.add("GET", "/containers/{}/checkpoints", api.list_all)
    router.add("DELETE", "/containers/{}/checkpoints/{}", api.remove)


class CheckpointsApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def create(self, request: "Request") -> Response:
        container, wanted = self._engine.containers.find(request.values[0]), request.json()
        check(wanted, _SHAPE, "")
        name, folder = (wanted.get(key) or "" for key in ("CheckpointID", "CheckpointDir"))
        message = self._message(container, request, "write", folder, _checked(name))
        message.update(ends=bool(wanted.get("Exit")), has_network=container.has_own_network)
        message["is_paused"] = container.is_paused
        await stopping.checkpoint(self._engine, container, message)
        return Response(201)

    async def list_all(self, request: "Request") -> Response:
        container = self._engine.containers.find(request.values[0])
        message = self._message(container, request, "list", request.query.get("dir", ""))
        found = await self._engine.launcher.do(self._engine.loop, message)
        return Response(200, [{"Name": name} for name in found["names"]])

    async def remove(self, request: "Request") -> Response:
        container, name = self._engine.containers.find(request.values[0]), _checked(request.values[1])
        message = self._message(container, request, "remove", request.query.get("dir", ""), name)
        await self._engine.launcher.do(self._engine.loop, message)
        return Response(204)

    def _message(
        self, container: "Container", request: "Request", action: str, folder: str, name: str = ""
    ) -> "Message":
        place = {"folder": _folder(container, folder), "name": name}
        return {"do": "checkpoint", "action": action, "id": container.id, "container": request.values[0], **place}


def wanted_path(container: "Container", request: "Request") -> str:
    """Return the path of the checkpoint from which the query of `start` lets the container go on, "" for none."""
    name = request.query.get("checkpoint", "")
    return f"{_folder(container, request.query.get('checkpoint-dir', ''))}/{_checked(name)}" if name else ""


def _folder(container: "Container", given: str) -> str:
    """Return the folder that the client has `given`, or that of the container's own checkpoints."""
    if given and (not given.startswith("/") or "\0" in given):
        raise ApiError(400, f"invalid checkpoint directory {given[:200]!r}: must be an absolute path")
    return os.path.normpath(given) if given else container.places.checkpoints(container.id)


def _checked(name: str) -> str:
    """Return the name of a checkpoint. Raises ApiError, with docker's words, if it is not valid."""
    if not is_name(name):
        raise ApiError(500, f"Invalid checkpoint ID ({name[:200]}), only [a-zA-Z0-9][a-zA-Z0-9_.-] are allowed")
    return name
