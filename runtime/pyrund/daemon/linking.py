"""Links on the default bridge: which containers know each other, and what is to be done when one of them starts."""

import sys
import time

from foundation.errors import reason
from pyrund.errors import ApiError
from pyrund.spec.links import split

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.model.container import Container

    Json = dict[str, Any]

_PATIENCE = 5.0  # seconds for a container that is about to start again, as dockerd's


def resolved(engine: "Engine", host_config: "Json") -> "dict[str, str]":
    """Return {alias: id of the other container} of a new container on the default bridge. Raises ApiError."""
    if host_config["NetworkMode"] not in ("bridge", "none"):
        return {}
    found = {}
    for text in host_config.get("Links") or []:
        name, alias = split(text)
        try:
            other = _with_own_network(engine, name)
        except ApiError as error:
            # Not 404, which would mean a missing image.
            raise ApiError(400, f"could not get container for {name[:80]}: {error}") from None
        if other.network == "host":
            why = "host type networking can't be used with links. This would result in undefined behavior"
            raise ApiError(400, f"conflicting options: {why}")
        found[alias] = other.id
    return found


def _with_own_network(engine: "Engine", name: str) -> "Container":
    """Return the container `name`, or the one whose network it shares. Raises ApiError."""
    seen: set[str] = set()
    other = engine.containers.find(name)
    while other.network.startswith("container:"):
        if other.id in seen:
            raise ApiError(400, f"the network of {other.name} is that of itself")
        seen.add(other.id)
        other = engine.containers.find(other.network.partition(":")[2])
    return other


async def check(engine: "Engine", container: "Container") -> None:
    """Raise ApiError if a container to which the one that is about to start has a link does not run there."""
    for alias, id_ in container.links.items() if "bridge" in container.endpoints else ():
        other = engine.containers.get(id_)
        if other is None:
            raise ApiError(500, f"Cannot link to a removed container: {id_[:12]} AS /{container.name}/{alias}")
        deadline = time.monotonic() + _PATIENCE
        while other.attempt and time.monotonic() < deadline:  # an engine that begins starts both
            await engine.loop.sleep(0.05)
        if not other.is_running:
            raise ApiError(500, f"Cannot link to a non running container: /{other.name} AS /{container.name}/{alias}")
        if "bridge" not in other.endpoints:
            raise ApiError(500, f"Cannot link to /{other.name}, as it does not belong to the default network")


async def tell(engine: "Engine", container: "Container") -> None:
    """The container has started: those that know it learn its address."""
    for other in engine.containers:
        if other.is_running and container.id in other.links.values():
            await relink(engine, other)


async def relink(engine: "Engine", container: "Container", *gone: str) -> None:
    """Let the hosts file of the running container say where those are that it knows; the aliases `gone` are no more."""
    try:
        await engine.launcher.do(engine.loop, {"do": "relink", "id": container.id, "gone": gone})
    except (ApiError, OSError) as error:
        print(f"pyrund: {container.id}: its links: {reason(error)}", file=sys.stderr)


async def recover(engine: "Engine") -> None:
    """An engine has begun: the former one may have been killed before it could tell."""
    for container in engine.containers:
        if container.is_running and container.links:
            await relink(engine, container)


async def remove(engine: "Engine", reference: str) -> None:
    """Remove the link "web/db". Raises ApiError, with docker's words."""
    parent, _, alias = reference.lstrip("/").rpartition("/")
    if not parent:
        raise ApiError(409, "Conflict, cannot remove the default link name of the container")
    try:
        container = engine.containers.find(parent)
    except ApiError:
        raise ApiError(500, f"Cannot get parent /{parent[:80]} for link name /{reference.lstrip('/')[:80]}") from None
    async with container.turns:
        if alias not in container.links:
            return
        del container.document["Links"][alias]
        container.save()
        if container.is_running:
            await relink(engine, container, alias)
