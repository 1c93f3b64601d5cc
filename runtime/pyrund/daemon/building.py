"""Builds. A worker does the work and answers the request; the containers that it needs are made and run here.

worker                              daemon
read the context, the Dockerfile
{"run"} ──────────────────────────▶ make a container, start it
                                  ◀ {"id"} with a connection that shows its output
                                  ◀ {"exit"}, or {"error"}
make a layer of what it has written
{"remove"} ───────────────────────▶ remove the container, while the next step is done
{"image", "names"} ───────────────▶ tell that there is an image; "" if the build has failed
                                  ◀ {}, when all containers are removed
{}
"""

from foundation.linux.socketpair import STREAM, socketpair
from pyrund.daemon import creating, lifecycle
from pyrund.daemon.creating import Wanted
from pyrund.errors import ApiError, logged
from pyrund.launch.launcher import checked
from pyrund.loop import first
from pyrund.messages import receive
from pyrund.streams.process import attach_for_us

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyfetch.image.store import Store
    from pyrund.daemon.engine import Engine
    from pyrund.loop import Task
    from pyrund.messages import Port
    from pyrund.model.container import Container

    Json = dict[str, Any]


class Build:
    """The build `id_`, whose containers have the HostConfig `host`."""

    def __init__(self, engine: "Engine", id_: str, host: "Json") -> None:
        self._engine = engine
        self._id = id_
        self._host = host
        self._removals: list[Task[None]] = []
        self._is_over = False  # whether only the answer is left to be written

    async def serve(self, port: "Port") -> None:
        """Do what the worker asks for, until it has ended. Raises ApiError, and WorkerLost if it was killed."""
        while True:
            answer = checked((await receive(self._engine.loop, port))[0])
            if "run" in answer:
                await self._run(port, answer["run"])
            elif "remove" in answer:
                self._removals.append(self._engine.loop.spawn(self._remove(answer["remove"])))
            elif "image" in answer:
                image = self._engine.images.find_or_none(answer["image"])
                self._engine.events.of_names(image, answer["names"])
                for removal in self._removals:
                    await removal
                self._is_over = True
                port.send({})
            else:
                return

    async def _run(self, port: "Port", wanted: "Json") -> None:
        try:
            container = await self._make(wanted)
        except ApiError as error:
            port.send({"error": str(error)})
            return
        await self._attach(port, container)
        ended = container.next_exit
        try:
            await lifecycle.start(self._engine, container)
        except ApiError as error:
            port.send({"error": str(error)})
            return
        await first(ended, self._engine.loop.readable(port.fileno()))
        if ended.is_done:
            port.send({"exit": ended.result()})

    async def _make(self, wanted: "Json") -> "Container":
        given = {**wanted["config"], "Image": wanted["image"], "HostConfig": {**self._host, "Mounts": wanted["mounts"]}}
        step = _Step(wanted["image"], wanted["layers"])
        asked = Wanted(given, self._engine.settings)
        container, _ = await creating.create(self._engine, "", asked, lambda: step, self._id)
        return container

    async def _attach(self, port: "Port", container: "Container") -> None:
        """Let the worker have a connection that shows the container's output, as a client that attaches has it."""
        ours, theirs = socketpair(STREAM)
        message = attach_for_us(container.id, framed=True)
        try:
            await self._engine.streams.send(message, (ours.fileno(),))
            port.send({"id": container.id}, (theirs.fileno(),))
        finally:
            ours.close()
            theirs.close()

    async def _remove(self, id_: str) -> None:
        container = self._engine.containers.get(id_)
        if container:  # else another client has removed it; it may also be removing it right now
            await logged(lifecycle.remove(self._engine, container, force=True, with_volumes=True), id_)

    async def undo(self) -> None:
        """Remove what is left after the worker has ended early: the folder alone if the client had its answer and went,
        else the containers, too."""
        if self._is_over:
            await self._engine.launcher.do(self._engine.loop, {"do": "clear_build", "id": self._id})
        else:
            await undo(self._engine, self._id)


async def undo(engine: "Engine", id_: str) -> None:
    """Remove the containers and the folder of the build `id_`, whose worker was killed, or whose client has gone.

    What cannot be removed now is for the engine that begins next.
    """
    for container in [one for one in engine.containers if one.document.get("Build") == id_]:
        if not container.is_removing:
            await logged(lifecycle.remove(engine, container, force=True, with_volumes=True), container.id)
    await logged(engine.launcher.do(engine.loop, {"do": "clear_build", "id": id_}), f"build {id_}")


class _Step:
    """What a step of a build begins with: an image that has no name yet. The container takes over all its settings."""

    def __init__(self, id_: str, layers: "list[str]") -> None:
        self.id = id_
        self._layers = layers

    def wishes(self) -> "Json":
        return {name: {} for name in ("ExposedPorts", "Volumes", "Labels")}

    def layers(self, store: "Store") -> "list[str]":
        return self._layers

    def record(self) -> "Json":
        return {"name": self.id, "digest": self.id, "manifest": self.id, "platform": ""}
