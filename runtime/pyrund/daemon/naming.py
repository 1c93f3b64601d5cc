"""How containers in networks of one's own find each other by names: what the streams process is told of it."""

import sys

from foundation.linux import os
from pyrund.errors import ApiError
from pyrund.spec.name_files import has_resolver

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.model.container import Container


async def place(engine: "Engine", container: "Container") -> None:
    """Tell by which names others find the container, which runs or is about to."""
    for name, endpoint in container.endpoints.items():
        network = engine.networks.named(name)
        if network and not network.is_predefined and endpoint.address:
            entry = {"names": container.names_in(endpoint), "addresses": endpoint.addresses}
            await engine.streams.send({"do": "place", "id": container.id, "network": network.id, **entry})


async def resolve(engine: "Engine", container: "Container", sockets: "list[int]") -> None:
    """Let the streams process answer the container on `sockets`, which stay open here; there may be none."""
    await place(engine, container)
    if not sockets:
        return
    networks = {}
    for name, endpoint in container.endpoints.items():
        network = engine.networks.named(name)
        if network and not network.is_predefined:
            networks[network.id] = (name, endpoint.links)
    wanted = {
        "networks": networks,
        "servers": container.host_config.get("Dns") or [],
        "forwards": bool(container.way_out),
    }
    await engine.streams.send({"do": "resolve", "id": container.id, "wanted": wanted}, tuple(sockets))


async def forget(engine: "Engine", container: "Container") -> None:
    """The container has ended, or has left a network. Its sockets would keep its network namespace."""
    await engine.streams.send({"do": "forget", "id": container.id})


async def again(engine: "Engine", container: "Container") -> None:
    """The running container's networks have changed, or the process that answered it has ended."""
    await forget(engine, container)
    if not has_resolver(container):
        return
    sockets: list[int] = []
    try:
        _, sockets = await engine.launcher.fetch(engine.loop, {"do": "resolver", "id": container.id})
        if container.is_running:
            await resolve(engine, container, sockets)
    except ApiError as error:
        print(f"pyrund: {container.id}: it finds no names: {error}", file=sys.stderr)
    finally:
        for fd in sockets:
            os.close(fd)


async def recover(engine: "Engine") -> None:
    """Another streams process has begun."""
    for container in engine.containers:
        if container.is_running and has_resolver(container):
            await again(engine, container)
