"""Containers: create, list, inspect, rename, remove."""

from pyrund.api import disk, platforms, shown, shown_networks
from pyrund.api.filters import flag, has_labels, named_by
from pyrund.daemon import creating, lifecycle, linking, naming
from pyrund.daemon.creating import Wanted
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.model import names
from pyrund.model.container import Container
from pyrund.spec.port_bindings import port_range

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrund.daemon.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.networks import Networks

_FILTERS = frozenset(
    "ancestor before exited expose health id is-task isolation label name network publish since status volume".split()
)
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_WITH_PLATFORM = (1, 41)
_HEALTH = ("starting", "healthy", "unhealthy", "none")


def add_routes(router: "Router", engine: "Engine") -> None:
    containers = ContainersApi(engine)
    router.add("POST", "/containers/create", containers.create)
    router.add("GET", "/containers/json", containers.list_all)
    router.add("GET", "/containers/{}/json", containers.inspect)
    router.add("POST", "/containers/{}/rename", containers.rename)
    router.add("DELETE", "/containers/{}", containers.remove)


class ContainersApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def create(self, request: "Request") -> Response:
        given, name = request.json(), request.query.get("name", "")
        name = names.check_name(name) if name else ""
        engine = self._engine
        asked = Wanted(given, engine.settings, request.version)
        wanted = given.get("Image")
        if not wanted:
            raise ApiError(400, "invalid reference format: an image is required")
        text = request.query.get("platform", "") if request.version >= _WITH_PLATFORM else ""
        platform = platforms.named(text) if text else None
        container, warnings = await creating.create(
            engine, name, asked, lambda: engine.images.find_for(wanted, platform)
        )
        return Response(201, {"Id": container.id, "Warnings": warnings})

    async def list_all(self, request: "Request") -> Response:
        filters = request.filters(_FILTERS)
        limit = request.number("limit", 0)
        shows_all = request.flag("all") or limit > 0 or bool(filters.get("status")) or bool(filters.get("exited"))
        matches = self._matcher(filters)
        found = [one for one in self._engine.containers if (shows_all or one.is_active) and matches(one)]
        if limit > 0:
            found = found[:limit]
        aliases = self._engine.containers.aliases()
        id_of = self._engine.images.ids()
        summaries = [shown.summary(one, self._engine.networks, aliases.get(one.id, []), id_of) for one in found]
        if request.flag("size"):
            for described, size in zip(summaries, await disk.sizes(self._engine, found)):
                described.update(size)
        return Response(200, summaries)

    def _matcher(self, filters: "dict[str, list[str]]") -> "Callable[[Container], bool]":
        """Return what says whether a container passes all filters. Raises ApiError."""
        _check_values(filters)
        containers, tests = self._engine.containers, {**_TESTS, "ancestor": self._is_made_of(filters)}
        newest, oldest = (
            [containers.find(one).document["Created"] for one in filters.get(name, [])] for name in ("before", "since")
        )
        is_named, is_task = named_by(filters), flag(filters, "is-task")  # there are none: those belong to a swarm
        ports = {name: _ports(texts, name) for name, texts in filters.items() if name in ("publish", "expose")}

        def matches(one: Container) -> bool:
            created = one.document["Created"]
            return (
                (is_named(one.name) or is_named(f"/{one.name}"))
                and all(any(tests[name](one, text) for text in filters[name]) for name in tests if name in filters)
                and all(created < edge for edge in newest)
                and all(created > edge for edge in oldest)
                and (not ports or _has_port(one, self._engine.networks, ports))
                and has_labels(one.config["Labels"], filters)
            )

        return (lambda one: not is_task and matches(one)) if filters else (lambda one: True)

    def _is_made_of(self, filters: "dict[str, list[str]]") -> "Callable[[Container, str], bool]":
        """Return the test of the filter "ancestor": by images and those that were made of them. As with dockerd, what
        names no image matches nothing, but the id of one that is gone."""
        images, made = self._engine.images, {}
        for text in filters.get("ancestor", []):
            named = images.find_or_none(text)
            made[text] = {one.id for one in images.all() if named and one.begins_with(named)} | {text}
        return lambda one, text: one.document["Image"] in made[text]

    async def inspect(self, request: "Request") -> Response:
        container = self._engine.containers.find(request.values[0])
        execs = [one.id for one in self._engine.execs.values() if one.is_running and one.container_id == container.id]
        links = self._engine.containers.links(container)
        sizes = (await disk.sizes(self._engine, [container]))[0] if request.flag("size") else {}
        return Response(200, {**shown.details(container, self._engine.networks, execs, links), **sizes})

    async def rename(self, request: "Request") -> Response:
        container = self._engine.containers.find(request.values[0])
        name = names.check_name(request.query.get("name", ""))
        if name == container.name:
            raise ApiError(400, "Renaming a container with the same name as its current name")
        async with container.turns:
            if container.is_removing:
                raise ApiError(404, f"No such container: {request.values[0]}")
            self._engine.containers.refuse_name(name)
            old = container.name
            self._engine.containers.rename(container, name)
            try:
                container.save()
            except BaseException:
                self._engine.containers.rename(container, old)
                raise
            if container.is_running:
                await naming.place(self._engine, container)
        self._engine.events.of_container(container, "rename", oldName=f"/{old}")
        return Response(204)

    async def remove(self, request: "Request") -> Response:
        if request.flag("link"):
            await linking.remove(self._engine, request.values[0])
            return Response(204)
        container = self._engine.containers.find(request.values[0])
        await lifecycle.remove(self._engine, container, request.flag("force"), request.flag("v"))
        return Response(204)


def _check_values(filters: "dict[str, list[str]]") -> None:
    for status in filters.get("status", []):
        if status not in _STATUSES:
            raise ApiError(400, f"invalid filter 'status={status[:80]}'")
    for text in filters.get("health", []):
        if text not in _HEALTH:
            raise ApiError(400, f"Unrecognised filter value for health: {text[:80]}")
    for text in filters.get("exited", []):
        if not (text.isascii() and text.removeprefix("-").isdigit() and len(text) < 12):
            raise ApiError(400, f'strconv.Atoi: parsing "{text[:80]}": invalid syntax')


def _is_in_network(one: Container, text: str) -> bool:
    ids = (endpoint.settings["NetworkID"] for endpoint in one.endpoints.values())
    return text in one.endpoints or any(text and id_.startswith(text) for id_ in ids)


# What a container must be for one value of a filter.
_TESTS: "dict[str, Callable[[Container, str], bool]]" = {
    "id": lambda one, text: one.id.startswith(text),
    "status": lambda one, text: text == one.status,
    "health": lambda one, text: text == (one.health.status if one.health else "none"),
    "exited": lambda one, text: one.status == "exited" and int(text) == one.document["ExitCode"],
    "network": _is_in_network,
    "volume": lambda one, text: any(
        text in (it["name"] or it["source"], it["target"]) for it in one.document["Mounts"]
    ),
}


def _ports(texts: "list[str]", name: str) -> "list[tuple[str, int, int]]":
    """Return (protocol, first port, last port) for each value of the filter. Raises ApiError."""
    found = []
    for text in texts:
        if ":" in text:
            raise ApiError(400, f"filter for '{name}' should not contain ':': {text[:80]}")
        numbers, _, protocol = text.partition("/")
        first, last = port_range(numbers)
        found.append((protocol.lower() or "tcp", first, last))
    return found


def _has_port(one: Container, networks: "Networks", wanted: "dict[str, list[tuple[str, int, int]]]") -> bool:
    """Return whether one of the container's ports is among those published or exposed that are wanted."""
    kinds = {"publish": "PublicPort", "expose": "PrivatePort"}
    return any(
        port["Type"] == protocol and first <= port.get(kinds[name], 0) <= last
        for port in shown_networks.ports_listed(one, networks)
        for name, ranges in wanted.items()
        for protocol, first, last in ranges
    )
