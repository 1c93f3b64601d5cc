"""Containers: create, list, inspect, rename, remove."""

import json

from foundation.linux import os, whole_file
from pyrund import lifecycle, linking, naming, networking, volumes
from pyrund.api import disk, shown
from pyrund.api.filters import has_labels, is_named
from pyrund.errors import ApiError, missing
from pyrund.http.request import NEWEST
from pyrund.http.response import Response
from pyrund.model import names
from pyrund.model.container import Container, make_folder
from pyrund.model.times import ZERO, now
from pyrund.spec import config, host_config
from pyrund.spec.mounts import Mount, inherited, mounts_of, with_volumes
from pyrund.spec.network import ENDPOINT, check_names, endpoint_settings, mac
from pyrund.spec.port_bindings import bindings, parsed
from pyrund.spec.resources import discarded
from pyrund.spec.shape import check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrund.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.images import Template

    Json = dict[str, Any]

_FILTERS = frozenset(
    "ancestor before exited expose health id is-task isolation label name network publish since status volume".split()
)
_STATUSES = ("created", "running", "paused", "restarting", "removing", "exited", "dead")
_NETWORKING = {"NetworkingConfig": {"EndpointsConfig": {str: ENDPOINT}}}
_SINCE_SUBPATHS = (1, 45)
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
        images = self._engine.images
        container, warnings = await self.make(name, given, lambda: images.find(wanted), version=request.version)
        return Response(201, {"Id": container.id, "Warnings": warnings})

    async def make(
        self,
        name: str,
        given: "Json",
        find: "Callable[[], Template]",
        build: str = "",
        version: "tuple[int, int]" = NEWEST,
    ) -> "tuple[Container, list[str]]":
        """Make the container that `given` describes, as in the API `version`; return it, and warnings. Raises ApiError.

        `find` returns its image, and is called again after a wait; `build` is the build that it belongs to.
        """
        engine = self._engine
        name = name or self._new_name()
        check(given, _NETWORKING, "")
        endpoints = _endpoints(given.get("NetworkingConfig") or {})
        checked = host_config.checked(given.get("HostConfig") or {}, engine.settings)
        check_names(checked)
        wanted_mounts = mounts_of(checked)
        if version < _SINCE_SUBPATHS and any(mount.subpath for mount in wanted_mounts):
            raise ApiError(400, "VolumeOptions.Subpath needs API v1.45 or newer")
        find()  # before all else: its lack is what makes a client pull
        if any(mount.kind == "bind" and not mount.is_made for mount in wanted_mounts):
            await engine.launcher.do(engine.loop, {"do": "check", "host": {"Mounts": checked["Mounts"]}})
        image = find()
        id_ = names.new_id()
        merged = config.merged(given, image.wishes(), id_)
        engine.containers.refuse_name(name)
        warnings = _check_ports(checked, merged)
        warnings += [] if engine.places.has_cgroups else discarded(checked)
        _check_sharing(given, checked)
        kind, _, other = (checked.get("PidMode") or "").partition(":")
        if kind == "container":
            checked["PidMode"] = f"container:{engine.containers.find(other).id}"
        mounts = with_volumes(wanted_mounts, self._inherited(checked), list(merged["Volumes"]))
        made = await volumes.take(engine, mounts, image.layers(engine.images.store), id_)
        try:
            # Other clients may have taken the name, or removed the image, meanwhile.
            engine.containers.refuse_name(name)
            if find().id != image.id:
                raise ApiError(409, "the image has been replaced meanwhile: try again")
            links = linking.resolved(engine, checked)
            by_name_server = None if links else checked.get("Links")
            own = {"MacAddress": mac(merged.get("MacAddress", "")), "Links": by_name_server}
            places = networking.new_endpoints(engine, checked["NetworkMode"], endpoints, own)
            container = self._make(id_, name, image, merged, checked, mounts, places, {"Links": links, "Build": build})
        except BaseException:
            volumes.release(engine, id_)
            await volumes.remove_all(engine, made)
            raise
        volumes.release(engine, id_)
        engine.events.of_container(container, "create")
        return container, warnings

    def _inherited(self, host: "Json") -> "list[Mount]":
        """Return the mounts of the containers that --volumes-from names."""
        found = []
        for text in host.get("VolumesFrom") or []:
            name, _, mode = text.partition(":")
            try:
                found += inherited(self._engine.containers.find(name), mode)
            except ApiError as error:  # after a 404 a client would pull the image
                raise ApiError(400, str(error)) from None
        return found

    def _new_name(self) -> str:
        for _ in range(100):
            name = names.new_name()
            try:
                self._engine.containers.refuse_name(name)
                return name
            except ApiError:
                continue
        return f"{name}{os.urandom(4).hex()}"

    def _make(
        self,
        id_: str,
        name: str,
        image: "Template",
        merged: "Json",
        checked: "Json",
        mounts: "list[Mount]",
        endpoints: "Json",
        more: "Json",
    ) -> Container:
        engine = self._engine
        document = {
            "Id": id_,
            "Name": name,
            "Created": now(),
            "Image": image.id,
            "Config": merged,
            "HostConfig": checked,
            "Layers": image.layers(engine.images.store),
            "Mounts": [vars(mount) for mount in mounts],
            "StartedAt": ZERO,
            "FinishedAt": ZERO,
            "ExitCode": 0,
            "Error": "",
            "OOMKilled": False,
            "RestartCount": 0,
            "StoppedByHand": False,
            "Endpoints": endpoints,
            "Ports": [],
            "WayOut": "",
            **{key: value for key, value in more.items() if value},
        }
        container = Container(engine.places, document)
        try:
            make_folder(container)
            _register(engine, container, image)
            container.save()
        except BaseException:
            # No document yet, so it is half made: a worker removes it as recovery would.
            engine.loop.spawn(engine.launcher.do(engine.loop, {"do": "remove", "id": id_, "all": True}))
            raise
        engine.containers.add(container)
        return container

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
        containers = self._engine.containers
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
                and (is_named(one.name, filters) or is_named(f"/{one.name}", filters))
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
            self._engine.containers.refuse_name(name)
            old = container.name
            self._engine.containers.rename(container, name)
            container.save()
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


def _endpoints(networking: "Json") -> "Json":
    """Return the settings of the container's endpoints by the names of the networks. Raises ApiError."""
    given = networking.get("EndpointsConfig") or {}
    return {name: endpoint_settings(endpoint or {}) for name, endpoint in given.items()}


def _check_sharing(given: "Json", host: "Json") -> None:
    """Raise ApiError, with docker's words, for what a container cannot have if it shares another's network."""
    if not host["NetworkMode"].startswith("container:"):
        return
    conflicts = {
        "hostname and the network mode": given.get("Hostname"),
        "dns and the network mode": host.get("Dns"),
        "custom host-to-IP mapping and the network mode": host.get("ExtraHosts"),
        "mac-address and the network mode": given.get("MacAddress"),
        "port publishing and the container type network mode": host.get("PortBindings") or host.get("PublishAllPorts"),
        "port exposing and the container type network mode": given.get("ExposedPorts"),
    }
    for what, is_there in conflicts.items():
        if is_there:
            raise ApiError(400, f"conflicting options: {what}")


def _check_ports(checked: "Json", merged: "Json") -> "list[str]":
    """Raise ApiError if a port makes no sense; return docker's warnings."""
    wanted = bindings(checked, merged)
    for name in merged["ExposedPorts"]:
        parsed(name)
    if wanted and checked["NetworkMode"] == "host":
        return ["Published ports are discarded when using host network mode"]
    return []


def _networks(container: Container) -> "list[str]":
    """Return what a filter may call the container's networks."""
    return [*container.endpoints, *(one.settings["NetworkID"] for one in container.endpoints.values())]


def _register(engine: "Engine", container: Container, image: "Template") -> None:
    """Let pyfetch's prune keep the layers of the container, as those of a bundle."""
    record = {**image.record(), "overlay": container.document["Layers"]}
    bundle = engine.places.bundle(container.id)
    whole_file.create(f"{bundle}/image.json", json.dumps(record).encode())
    os.symlink(bundle, f"{engine.places.images}/bundles/{container.id}")


def _any(filters: "dict[str, list[str]]", name: str, matches: "Any") -> bool:
    return name not in filters or any(map(matches, filters[name]))
