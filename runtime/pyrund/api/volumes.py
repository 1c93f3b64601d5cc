"""Volumes: create, list, inspect, remove, prune."""

from pyrund.api.disk import volume_sizes
from pyrund.api.filters import flag, has_labels, named_by
from pyrund.api.prune import one_at_a_time
from pyrund.daemon import volumes
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.model.volume import check_driver, check_name
from pyrund.spec.shape import ANY_TEXT, TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.volume import Volume

_FILTERS = frozenset(("dangling", "driver", "label", "name"))
_PRUNE_FILTERS = frozenset(("all", "label", "label!"))
_SHAPE = {"Name": TEXT, "Driver": TEXT, "Labels": {str: ANY_TEXT}, "DriverOpts": {str: TEXT}}
_SINCE_NAMED_ARE_KEPT = (1, 42)


def add_routes(router: "Router", engine: "Engine") -> None:
    api = VolumesApi(engine)
    router.add("POST", "/volumes/create", api.create)
    router.add("GET", "/volumes", api.list_all)
    router.add("GET", "/volumes/{}", api.inspect)
    router.add("DELETE", "/volumes/{}", api.remove)
    router.add("POST", "/volumes/prune", one_at_a_time(api.prune))


class VolumesApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def create(self, request: "Request") -> Response:
        given = request.json()
        check(given, _SHAPE, "")
        name, driver = given.get("Name") or "", given.get("Driver") or "local"
        labels, options = given.get("Labels"), given.get("DriverOpts") or {}
        if name:
            check_name(name)
        check_driver(name, driver)
        volume = volumes.make(self._engine, name, labels, options)
        return Response(201, volume.described())

    async def list_all(self, request: "Request") -> Response:
        filters = request.filters(_FILTERS)
        dangling = flag(filters, "dangling")
        users, is_named = volumes.users_of_all(self._engine), named_by(filters)
        found = [
            one.described()
            for one in self._engine.volumes
            if is_named(one.name)
            and ("driver" not in filters or "local" in filters["driver"])
            and has_labels(one.labels, filters)
            and dangling != bool(users[one.name])
        ]
        return Response(200, {"Volumes": found, "Warnings": None})

    async def inspect(self, request: "Request") -> Response:
        return Response(200, self._engine.volumes.find(request.values[0]).described())

    async def remove(self, request: "Request") -> Response:
        try:
            await volumes.remove(self._engine, self._engine.volumes.find(request.values[0]))
        except ApiError as error:
            if error.status != 404 or not request.flag("force"):
                raise
        return Response(204)

    async def prune(self, request: "Request") -> Response:
        engine, filters = self._engine, request.filters(_PRUNE_FILTERS)
        named_too = request.version < _SINCE_NAMED_ARE_KEPT or bool(flag(filters, "all"))
        removed, size = [], 0
        for volume in list(engine.volumes):
            if not self._is_pruned(volume, named_too, filters):
                continue
            own = (await volume_sizes(engine, [volume]))[0]
            if self._is_pruned(volume, named_too, filters):  # it may have been taken meanwhile
                await volumes.remove(engine, volume)
                removed.append(volume.name)
                size += own
        engine.events.tell("volume", "prune", "", {"reclaimed": str(size)})
        return Response(200, {"VolumesDeleted": removed, "SpaceReclaimed": size})

    def _is_pruned(self, volume: "Volume", named_too: bool, filters: "dict[str, list[str]]") -> bool:
        engine = self._engine
        is_free = engine.volumes.get(volume.name) is volume and not (volumes.users(engine, volume) or volume.backing)
        return is_free and (named_too or volume.is_anonymous) and has_labels(volume.labels, filters)
