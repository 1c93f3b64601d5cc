"""Containers: create, list, inspect, rename, remove."""

from pyrund import creating, lifecycle, linking, naming
from pyrund.api import disk, platforms, shown
from pyrund.api.filters import has_labels, named_by
from pyrund.creating import Wanted
from pyrund.errors import ApiError, missing
from pyrund.http.response import Response
from pyrund.model import names
from pyrund.model.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router

_FILTERS = frozenset(
    "ancestor before exited expose health id is-task isolation label name network publish since status volume".split()
)
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_WITH_PLATFORM = (1, 41)
_UNUSED_FILTERS = ("expose", "is-task", "isolation", "publish")


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
        wanted = given.get("Image")
        if not isinstance(wanted, str) or not wanted:
            raise ApiError(400, "invalid reference format: an image is required")
        engine = self._engine
        asked = Wanted(given, engine.settings, request.version)
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
        summaries = [shown.summary(one, self._engine.networks, aliases.get(one.id, [])) for one in found]
        if request.flag("size"):
            for described, size in zip(summaries, await disk.sizes(self._engine, found)):
                described.update(size)
        return Response(200, summaries)

    def _matcher(self, filters: "dict[str, list[str]]") -> "Any":
        for name in _UNUSED_FILTERS:
            if name in filters:
                raise missing(f"the filter {name}")
        for status in filters.get("status", []):
            if status not in _STATUSES:
                raise ApiError(400, f"invalid filter 'status={status[:80]}'")
        containers, is_named = self._engine.containers, named_by(filters)
        edges = {
            name: [containers.find(one).document["Created"] for one in filters.get(name, [])]
            for name in ("before", "since")
        }

        def matches(one: Container) -> bool:
            if not filters:
                return True
            created = one.document["Created"]
            return (
                _any(filters, "id", one.id.startswith)
                and (is_named(one.name) or is_named(f"/{one.name}"))
                and _any(filters, "status", lambda text: text == one.status)
                and _any(filters, "health", lambda text: text == (one.health.status if one.health else "none"))
                and _any(
                    filters, "exited", lambda text: one.status == "exited" and text == str(one.document["ExitCode"])
                )
                and _any(filters, "network", lambda text: text in _networks(one))
                and _any(filters, "ancestor", lambda text: text in (one.config["Image"], one.document["Image"]))
                and all(created < edge for edge in edges["before"])
                and all(created > edge for edge in edges["since"])
                and _any(
                    filters,
                    "volume",
                    lambda text: any(text in (it["name"], it["target"]) for it in one.document["Mounts"]),
                )
                and has_labels(one.config["Labels"], filters)
            )

        return matches

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
            if container.removed.is_done:
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


def _networks(container: Container) -> "list[str]":
    """Return what a filter may call the container's networks."""
    return [*container.endpoints, *(one.settings["NetworkID"] for one in container.endpoints.values())]


def _any(filters: "dict[str, list[str]]", name: str, matches: "Any") -> bool:
    return name not in filters or any(map(matches, filters[name]))
