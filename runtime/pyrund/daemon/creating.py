"""How a container comes into being: what is wanted is checked, volumes are made, and it is written down."""

import json

from foundation.linux import os, whole_file
from pyrund.daemon import linking, networking, volumes
from pyrund.errors import ApiError
from pyrund.http.request import NEWEST
from pyrund.model import names
from pyrund.model.container import Container, make_folder, new_document
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

    from pyrund.daemon.engine import Engine
    from pyrund.model.images import Template
    from pyrund.settings import Settings

    Json = dict[str, Any]

# What a request has beside Config.
_BESIDE = {"HostConfig": {}, "NetworkingConfig": {"EndpointsConfig": {str: ENDPOINT}}}
_SINCE_SUBPATHS = (1, 45)
_SINCE_PRIVATE_IPC = (1, 40)  # older clients may let another container join it


class Wanted:
    """What a client wants a container to be, as far as it can be checked by itself.

    given       the body of the request, which is the container's Config and the following
    host        HostConfig, with all fields
    mounts      those of HostConfig
    endpoints   the settings of its endpoints, by the names or ids of networks

    Raises ApiError. `version` is that of the client's API.
    """

    def __init__(self, given: "Json", settings: "Settings", version: "tuple[int, int]" = NEWEST) -> None:
        check(given, {**config.SHAPE, **_BESIDE}, "")
        endpoints = (given.get("NetworkingConfig") or {}).get("EndpointsConfig") or {}
        self.given = given
        self.endpoints = {name: endpoint_settings(endpoint or {}) for name, endpoint in endpoints.items()}
        host = given.get("HostConfig") or {}
        if given.get("NetworkDisabled") is True and (host.get("NetworkMode") or "default") == "default":
            host = {**host, "NetworkMode": "none"}
        self.host = host_config.checked(host, settings)
        if version < _SINCE_PRIVATE_IPC and not host.get("IpcMode"):
            self.host["IpcMode"] = "shareable"
        check_names(self.host)
        self.mounts = mounts_of(self.host)
        if version < _SINCE_SUBPATHS and any(mount.subpath for mount in self.mounts):
            raise ApiError(400, "VolumeOptions.Subpath needs API v1.45 or newer")


async def create(
    engine: "Engine", name: str, wanted: Wanted, find: "Callable[[], Template]", build: str = ""
) -> "tuple[Container, list[str]]":
    """Make a container with the `name`, or with one that we invent; return it, and warnings. Raises ApiError.

    `find` returns its image, and is called again after a wait; `build` is the build that it belongs to.
    """
    find()  # first, because the client pulls if the error is a missing image
    await _check_binds(engine, wanted)
    image, id_ = find(), names.new_id()
    merged = config.merged(wanted.given, image.wishes(), id_)
    engine.containers.refuse_name(name)
    warnings = _check_ports(wanted.host, merged)
    warnings += [] if engine.places.has_cgroups else discarded(wanted.host)
    _check_conflicts(wanted)
    _name_others(engine, wanted.host)
    mounts = with_volumes(wanted.mounts, _inherited(engine, wanted.host), list(merged["Volumes"]))
    try:
        made = await volumes.take(engine, mounts, image.layers(engine.images.store), id_)
    except ApiError:
        find()  # raises, in docker's words, if that was because the image has been removed meanwhile
        raise
    try:
        engine.containers.refuse_name(name)  # another client may have taken it. One that we invent is invented now.
        document = {
            **new_document(id_, name or _new_name(engine)),
            "Image": image.id,
            "Config": merged,
            "HostConfig": wanted.host,
            "Layers": image.layers(engine.images.store),
            "Mounts": [vars(mount) for mount in mounts],
            **_places(engine, wanted, merged),
            **({"Build": build} if build else {}),
        }
        container = _write_down(engine, document, image, find)
    except BaseException:
        volumes.release(engine, id_)
        await volumes.remove_all(engine, made)
        raise
    volumes.release(engine, id_)
    engine.events.of_container(container, "create")
    return container, warnings


# What is checked.


async def _check_binds(engine: "Engine", wanted: Wanted) -> None:
    """Raise ApiError if a bind has no source, and the engine shall not make one. A worker looks: it may block."""
    if any(mount.kind == "bind" and not mount.is_made for mount in wanted.mounts):
        await engine.launcher.do(engine.loop, {"do": "check", "host": {"Mounts": wanted.host["Mounts"]}})


def _check_ports(host: "Json", merged: "Json") -> "list[str]":
    """Raise ApiError if a port makes no sense; return docker's warnings."""
    published = bindings(host, merged)
    for name in merged["ExposedPorts"]:
        parsed(name)
    if published and host["NetworkMode"] == "host":
        return ["Published ports are discarded when using host network mode"]
    return []


def _check_conflicts(wanted: Wanted) -> None:
    """Raise ApiError, with docker's words, for what a container cannot have if it shares the host's names or network,
    or another's network."""
    given, host = wanted.given, wanted.host
    conflicts = {}
    if host.get("UTSMode") == "host":
        conflicts["hostname and the UTS mode"] = given.get("Hostname")
        conflicts["domainname and the UTS mode"] = given.get("Domainname")
    if host["NetworkMode"] == "host":
        conflicts["mac-address and the network mode"] = given.get("MacAddress")
    if host["NetworkMode"].startswith("container:"):
        ports = host.get("PortBindings") or host.get("PublishAllPorts")
        conflicts["hostname and the network mode"] = given.get("Hostname")
        conflicts["dns and the network mode"] = host.get("Dns")
        conflicts["custom host-to-IP mapping and the network mode"] = host.get("ExtraHosts")
        conflicts["mac-address and the network mode"] = given.get("MacAddress")
        conflicts["port publishing and the container type network mode"] = ports
        conflicts["port exposing and the container type network mode"] = given.get("ExposedPorts")
    for what, is_there in conflicts.items():
        if is_there:
            raise ApiError(400, f"conflicting options: {what}")


# What the container gets from other containers and from the engine.


def _new_name(engine: "Engine") -> str:
    for _ in range(100):
        name = names.new_name()
        try:
            engine.containers.refuse_name(name)
            return name
        except ApiError:
            continue
    return f"{name}{os.urandom(4).hex()}"


def _name_others(engine: "Engine", host: "Json") -> None:
    """Let modes name other containers by their ids, which stay when those are renamed. Raises ApiError.

    As with dockerd, a network may be that of a container which is made later.
    """
    for mode in ("NetworkMode", "PidMode", "IpcMode"):
        kind, _, other = (host.get(mode) or "").partition(":")
        if kind != "container":
            continue
        try:
            host[mode] = f"container:{engine.containers.find(other).id}"
        except ApiError as error:
            if mode != "NetworkMode":
                raise _without_pull(error) from None


def _without_pull(error: ApiError) -> ApiError:
    """Return the same error with another status: after a 404 a client would pull the image."""
    return ApiError(400, str(error))


def _inherited(engine: "Engine", host: "Json") -> "list[Mount]":
    """Return the mounts of the containers that --volumes-from names. Raises ApiError."""
    found = []
    for text in host.get("VolumesFrom") or []:
        name, _, mode = text.partition(":")
        try:
            found += inherited(engine.containers.find(name), mode)
        except ApiError as error:
            raise _without_pull(error) from None
    return found


def _places(engine: "Engine", wanted: Wanted, merged: "Json") -> "Json":
    """Return the parts of the document about networks: Endpoints, and Links if it has some. Raises ApiError."""
    links = linking.resolved(engine, wanted.host)
    by_name_server = None if links else wanted.host.get("Links")
    own = {"MacAddress": mac(merged.get("MacAddress", "")), "Links": by_name_server}
    endpoints = networking.new_endpoints(engine, wanted.host["NetworkMode"], wanted.endpoints, own)
    return {"Endpoints": endpoints, **({"Links": links} if links else {})}


# What stays.


def _write_down(engine: "Engine", document: "Json", image: "Template", find: "Callable[[], Template]") -> Container:
    container = Container(engine.places, document)
    try:
        make_folder(container)
        _register(container, image)
        # From now on the layers stay. A worker may have removed them before, but the name of their image first.
        if find().id != image.id:
            raise ApiError(409, "the image has been replaced meanwhile: try again")
        container.save()
    except BaseException:
        # No document yet, so it is half made: a worker removes it as recovery would.
        engine.loop.spawn(engine.launcher.do(engine.loop, {"do": "remove", "id": container.id, "all": True}))
        raise
    engine.containers.add(container)
    return container


def _register(container: Container, image: "Template") -> None:
    """Let pyfetch's prune keep the layers of the container, as those of a bundle."""
    record = {**image.record(), "overlay": container.document["Layers"]}
    bundle = container.places.bundle(container.id)
    whole_file.create(f"{bundle}/image.json", json.dumps(record).encode(), soon=True)
    os.symlink(bundle, f"{container.places.images}/bundles/{container.id}")
