"""Removal of what nobody uses: containers, images, the cache of builds. Volumes have theirs in volumes.py."""

from pyrund.api import disk
from pyrund.api.filters import before, flag, has_labels
from pyrund.api.images import forget
from pyrund.daemon import lifecycle
from pyrund.errors import ApiError, missing
from pyrund.http.response import Response
from pyrund.model.times import seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.connection import Exchange
    from pyrund.http.request import Request
    from pyrund.http.router import Handler, Router
    from pyrund.model.container import Container
    from pyrund.model.images import Image

_FILTERS = frozenset(("label", "label!", "until"))


def add_routes(router: "Router", engine: "Engine") -> None:
    api = PruneApi(engine)
    router.add("POST", "/containers/prune", one_at_a_time(api.containers))
    router.add("POST", "/images/prune", one_at_a_time(api.images))
    router.add("POST", "/build/prune", api.cache)


def one_at_a_time(handle: "Handler") -> "Handler":
    """Return `handle` for one request at a time. Another one that comes meanwhile is refused, as by dockerd: both would
    count the same space."""
    is_running = False

    async def alone(request: "Exchange") -> "Response | None":
        nonlocal is_running
        if is_running:
            raise ApiError(409, "a prune operation is already running")
        is_running = True
        try:
            return await handle(request)
        finally:
            is_running = False

    return alone


class PruneApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def containers(self, request: "Request") -> Response:
        engine, filters = self._engine, request.filters(_FILTERS)
        end = before(filters)
        removed, size = [], 0
        for container in list(engine.containers):
            if not _is_left(container, end, filters):
                continue
            written = (await disk.sizes(engine, [container]))[0]["SizeRw"]
            try:
                await lifecycle.remove(engine, container, False)
            except ApiError as error:
                if error.status != 409:
                    raise
                continue  # it was started meanwhile, or another client removes it
            removed.append(container.id)
            size += written
        engine.events.tell("container", "prune", "", {"reclaimed": str(size)})
        return Response(200, {"ContainersDeleted": removed or None, "SpaceReclaimed": size})

    async def images(self, request: "Request") -> Response:
        """Remove images without a container; without the filter dangling=false, only those that have no name."""
        engine, filters = self._engine, request.filters(_FILTERS | {"dangling"})
        end = before(filters)
        answers, size = [], 0
        only_nameless = flag(filters, "dangling") is not False
        for image in engine.images.all():
            # Asked anew each time, because a container may have been made while another image was removed.
            is_used = any(container.document["Image"] == image.id for container in engine.containers)
            if is_used or (only_nameless and image.names):
                continue
            if _is_old(image, end) and has_labels(image.labels, filters):
                size += self._own_size(image)
                answers += await forget(engine, image, list(image.names))
        engine.events.tell("image", "prune", "", {"reclaimed": str(size)})
        return Response(200, {"ImagesDeleted": answers or None, "SpaceReclaimed": size})

    def _own_size(self, image: "Image") -> int:
        """Return the bytes of the layers that no other image and no container has."""
        engine = self._engine
        others = [one.layers(engine.images.store) for one in engine.images.all() if one.id != image.id]
        others += [container.document["Layers"] for container in engine.containers]
        own = set(image.layers(engine.images.store)).difference(*others)
        return sum(map(engine.images.layer_size, own))

    async def cache(self, request: "Request") -> Response:
        """Remove the cache of builds. Each object of it is a layer, which may also be that of an image."""
        engine, end = self._engine, before(request.filters(frozenset(("until",))))
        for name in ("keep-storage", "reserved-space", "max-used-space", "min-free-space"):
            if request.number(name, 0):
                raise missing(f"--{name} of builder prune")
        others = disk.layers_in_use(engine)
        layers = await disk.cached_layers(engine, True, end)
        size = sum(number for name, number in layers.items() if name not in others)
        return Response(200, {"CachesDeleted": sorted(layers) or None, "SpaceReclaimed": size})


def _is_left(container: "Container", end: "float | None", filters: "dict[str, list[str]]") -> bool:
    if container.is_active or container.is_removing:
        return False
    is_old = end is None or seconds(container.document["Created"]) < end
    return is_old and has_labels(container.config["Labels"], filters)


def _is_old(image: "Image", end: "float | None") -> bool:
    return end is None or image.created < end
