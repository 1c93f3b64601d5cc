"""What takes space on the disk: sizes of containers and volumes, and system df."""

from pyrund.api import shown
from pyrund.api.images import WITHOUT_VIRTUAL_SIZE
from pyrund.daemon import volumes
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.launch.launcher import checked
from pyrund.messages import receive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.container import Container
    from pyrund.model.images import Image
    from pyrund.model.volume import Volume

    Json = dict[str, Any]

_TYPES = ("container", "image", "volume", "build-cache")
_AT_ONCE = 500  # folders in a message to a worker


def add_routes(router: "Router", engine: "Engine") -> None:
    router.add("GET", "/system/df", DiskApi(engine).usage)


async def bytes_in(engine: "Engine", folders: "list[str]") -> "list[int]":
    """Return the bytes in each of the folders."""
    found: list[int] = []
    while len(found) < len(folders):
        message = {"do": "measure", "folders": folders[len(found) : len(found) + _AT_ONCE]}
        found += (await engine.launcher.do(engine.loop, message))["bytes"]
    return found


async def sizes(engine: "Engine", containers: "list[Container]") -> "list[Json]":
    """Return what each container has written, and that with its image, as docker's lists have it."""
    written = await bytes_in(engine, [f"{engine.places.layer(one.id)}/upper" for one in containers])
    images = [sum(map(engine.images.layer_size, one.document["Layers"])) for one in containers]
    return [{"SizeRw": own, "SizeRootFs": own + image} for own, image in zip(written, images)]


def layers_in_use(engine: "Engine") -> "set[str]":
    """Return the layers that images and containers have."""
    images = [image.layers(engine.images.store) for image in engine.images.all()]
    return {layer for layers in [*images, *(one.document["Layers"] for one in engine.containers)] for layer in layers}


async def cached_layers(engine: "Engine", removes: bool, until: "float | None") -> "dict[str, int]":
    """Return {layer: bytes} for the cache of builds, or for its records that are older than `until`. `removes` says
    whether these records shall be removed."""
    port = await engine.launcher.ask(engine.loop, {"do": "build_cache", "removes": removes, "until": until})
    layers: dict[str, int] = {}
    try:
        while found := checked((await receive(engine.loop, port))[0]):
            layers.update(found["layers"])
        return layers
    finally:
        engine.loop.close(port.detach())


async def volume_sizes(engine: "Engine", wanted: "list[Volume]") -> "list[int]":
    return await bytes_in(engine, [engine.places.volume_data(one.name) for one in wanted])


class DiskApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def usage(self, request: "Request") -> Response:
        wanted = request.values_of("type") or list(_TYPES)
        for kind in wanted:
            if kind not in _TYPES:
                raise ApiError(400, f"unknown object type: {kind[:80]}")
        found: Json = {}
        if "image" in wanted:
            found.update(self._images(request.version < WITHOUT_VIRTUAL_SIZE))
        if "container" in wanted:
            found["Containers"] = await self._containers()
        if "volume" in wanted:
            found["Volumes"] = await self._volumes()
        if "build-cache" in wanted:
            found["BuildCache"] = await self._cache()
        return Response(200, found)

    def _images(self, is_old: bool) -> "Json":
        engine = self._engine
        images = engine.images.all()
        holders: dict[str, int] = {}  # layer -> images that have it
        for image in images:
            for layer in set(image.layers(engine.images.store)):
                holders[layer] = holders.get(layer, 0) + 1
        total = sum(map(engine.images.layer_size, holders))
        return {"LayersSize": total, "Images": [self._image(image, holders, is_old) for image in images]}

    def _image(self, image: "Image", holders: "dict[str, int]", is_old: bool) -> "Json":
        engine = self._engine
        layers = image.layers(engine.images.store)
        shared = sum(engine.images.layer_size(layer) for layer in layers if holders[layer] > 1)
        users = sum(one.document["Image"] == image.id for one in engine.containers)
        return {**engine.images.summary(image, is_old), "SharedSize": shared, "Containers": users}

    async def _cache(self) -> "list[Json]":
        engine = self._engine
        used = layers_in_use(engine)
        layers = await cached_layers(engine, False, None)
        return [
            {"ID": name, "Type": "regular", "InUse": False, "Shared": name in used, "Size": size, "UsageCount": 1}
            for name, size in sorted(layers.items())
        ]

    async def _containers(self) -> "list[Json]":
        engine = self._engine
        containers = list(engine.containers)
        measured = await sizes(engine, containers)
        aliases = engine.containers.aliases()
        id_of = engine.images.ids()
        summaries = [shown.summary(one, engine.networks, aliases.get(one.id, []), id_of) for one in containers]
        return [{**summary, **size} for summary, size in zip(summaries, measured)]

    async def _volumes(self) -> "list[Json]":
        engine = self._engine
        known = [one for one in engine.volumes if not one.backing]  # as dockerd: what is mounted there is elsewhere
        measured = await volume_sizes(engine, known)
        users = volumes.users_of_all(engine)
        return [
            {**one.described(), "UsageData": {"RefCount": len(users.get(one.name, [])), "Size": size}}
            for one, size in zip(known, measured)
        ]
