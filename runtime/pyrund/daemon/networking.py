"""What the engine does for the networks of a container: addresses, ports of the host, and changes while it runs."""

import sys

from foundation.errors import reason
from foundation.linux import os
from pyrund.daemon import naming, networks
from pyrund.errors import ApiError, missing
from pyrund.launch.forwarder import Forwarder
from pyrund.model import endpoint as endpoints
from pyrund.net.ports import Published
from pyrund.spec.network import check_place, endpoint_settings
from pyrund.spec.port_bindings import bindings

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.model.container import Container
    from pyrund.model.endpoint import Endpoint
    from pyrund.model.network import Network
    from pyrund.net.ports import Binding

    Json = dict[str, Any]

_OPPOSITES = {"join": "leave", "leave": "join"}
_FAILED = "failed to set up container networking: "
_SHARED = "container sharing network namespace with another container or host cannot be connected to any other network"
_PRIVATE = "container cannot be connected to multiple networks with one of the networks in private (none) mode"


async def recover(engine: "Engine") -> None:
    """Make everything again that somebody may have removed from the host while no engine was there."""
    ends = []
    for container in engine.containers:
        if not container.is_running:
            continue
        engine.ports.reserve_again(container.id, _published(container))
        _forward(engine, container)
        ends += [[one.settings["NetworkID"], one.outside] for one in container.endpoints.values() if one.address]
    if any(one.document["Subnet"] for one in engine.networks):
        await networks.remake(engine, ends)
    for container in engine.containers:
        if container.is_running and "Change" in container.document:
            await _go_on(engine, container)


def _published(container: "Container") -> "list[Published]":
    return [Published(*one) for one in container.document["Ports"]]


# A container's places.


def new_endpoints(engine: "Engine", mode: str, given: "Json", own: "Json") -> "Json":
    """Return the endpoints of a new container: that of its network mode, with the settings that `own` has for it, and
    those that the client has `given`. Raises ApiError."""
    if mode.startswith("container:"):
        return {}
    first = _name(engine, mode)
    wanted = {first: own}
    for reference, one in given.items():
        name = first if reference == "default" else _name(engine, reference)
        wanted[name] = {**wanted.get(name, {}), **{key: value for key, value in one.items() if value}}
    found = {}
    for name in [first, *sorted(wanted.keys() - {first})]:
        network = engine.networks.named(name)
        found[name] = endpoints.new(network.id if network else "", endpoint_settings(wanted[name])).settings
    return found


def _name(engine: "Engine", reference: str) -> str:
    """Return the name of a network, which need not be there before the container starts."""
    try:
        return engine.networks.find(reference).name
    except ApiError:
        return reference


async def begin(engine: "Engine", container: "Container") -> None:
    """Give the container, which is about to start, addresses and ports, and save it. Raises ApiError."""
    if container.network.startswith("container:"):
        _share(engine, container)
        return
    if not container.endpoints:  # the client has disconnected it from all
        container.document["Endpoints"] = new_endpoints(engine, container.network, {}, {})
    try:
        if any(text.endswith(":host-gateway") for text in container.host_config.get("ExtraHosts") or []):
            await networks.prepare(engine, engine.networks.find("bridge"))
        for name in container.endpoints:
            await networks.prepare(engine, engine.networks.find(name))
        known = _known(engine, container)
        for name, network in known.items():
            _allocate(engine, container.endpoints[name], network)
        container.document["WayOut"] = _way_out(container, known)
        _reserve(engine, container)
    except ApiError as error:
        raise ApiError(error.status, f"{_FAILED}{error}") from None
    _forward(engine, container)
    container.save()


def _share(engine: "Engine", container: "Container") -> None:
    """The container gets the network namespace of another one."""
    other = engine.containers.find(container.network.partition(":")[2])
    if other is container:
        raise ApiError(400, "cannot join own network")
    if not other.is_running:
        raise ApiError(409, f"cannot join network of a non running container: {other.id}")
    container.config["Hostname"] = other.config["Hostname"]
    container.host_config["NetworkMode"] = f"container:{other.id}"
    container.save()


def _known(engine: "Engine", container: "Container") -> "dict[str, Network]":
    return {name: engine.networks.find(name) for name in container.endpoints}


def _allocate(engine: "Engine", endpoint: "Endpoint", network: "Network") -> None:
    """Give the endpoint an address. Raises ApiError."""
    check_place(network, endpoint)
    address = address6 = ""
    if network.gives_addresses:
        others = [one.endpoints[network.name] for one in networks.members(engine, network)]
        leaving = _leaving(engine, network)
        used = [*leaving, *(one.address for one in others)]
        used6 = [*leaving, *(one.address6 for one in others if one.address6)]
        address = endpoint.wanted_address or network.free_address(used)
        address6 = endpoint.wanted_address6 or network.free_address6(used6)
        if not {*used, *used6, *network.kept}.isdisjoint(filter(None, (address, address6))):
            raise ApiError(403, "Address already in use")
    endpoint.settings["NetworkID"] = network.id
    endpoint.begin(os.urandom(32).hex(), address, address6, has_mac=network.document["Driver"] != "ipvlan")


def _leaving(engine: "Engine", network: "Network") -> "list[str]":
    """Return the addresses that interfaces in the network still have while workers remove them."""
    changes = [one.document["Change"] for one in engine.containers if one.is_running and "Change" in one.document]
    return [address for one in changes if one["network"] == network.name for address in one["addresses"]]


def _way_out(container: "Container", known: "dict[str, Network]") -> str:
    """Return the name of the network by which the container reaches the world, "" if there is none: as docker, the one
    with the highest priority, and of those with the same the first by name."""
    out = [name for name, one in known.items() if one.gives_addresses and not one.is_internal]
    return min(out, key=lambda name: (-container.endpoints[name].priority, name), default="")


def _reserve(engine: "Engine", container: "Container") -> None:
    """Reserve the ports that shall be published, if the container's way out is a bridge. Above a parent it has no
    published ports: others reach it without the host."""
    network = engine.networks.named(container.way_out)
    out = container.endpoints[container.way_out] if network and network.is_bridge else None
    host_address = network.host_address if network else ""
    has_ipv6 = bool(out and out.address6)
    wanted = bindings(container.host_config, container.config, host_address, has_ipv6) if out else []
    if engine.places.is_rootless and any(one.protocol == "sctp" for one in wanted):
        raise missing("a published port of SCTP without root")
    if not has_ipv6:
        _refuse_unserved(engine, wanted)
    try:
        ports = engine.ports.reserve(container.id, wanted)
    except ApiError as error:
        where = f"driver failed programming external connectivity on endpoint {container.name}"
        raise ApiError(error.status, f"{where} ({out.id if out else ''}): {error}") from None
    for port in ports:
        is_other_family = ":" in port.host_address and not has_ipv6
        port.address = (out.address if is_other_family or ":" not in port.host_address else out.address6) if out else ""
        port.is_served = (engine.serves_ports or is_other_family) and port.protocol != "sctp"
    container.document["Ports"] = [port.listed() for port in ports]


def _refuse_unserved(engine: "Engine", wanted: "list[Binding]") -> None:
    """Raise ApiError for a port at an address of IPv6 that a container with IPv4 alone cannot have: the engine itself
    carries what comes there."""
    for one in wanted:
        address = next((address for address in one.host_addresses if ":" in address), "")
        if address and (one.protocol == "sctp" or engine.settings.userland_proxy is False):
            kind = "of SCTP" if one.protocol == "sctp" else "without the userland proxy"
            raise missing(f"a port {kind} at an address of IPv6 ({address}) for a container that has none")


async def end(engine: "Engine", container: "Container") -> None:
    """Take back the container's ports, so that others can have them at once."""
    try:
        if container.document["Ports"]:
            await engine.launcher.do(engine.loop, {"do": "unpublish", "id": container.id})
    finally:
        await release(engine, container)
        container.document["Ports"] = []


async def release(engine: "Engine", container: "Container") -> None:
    """Let others have the ports that are reserved."""
    forwarder = engine.forwarders.pop(container.id, None)
    if forwarder:
        await forwarder.end()
    engine.ports.release(container.id)


def _forward(engine: "Engine", container: "Container") -> None:
    """Carry what arrives at the ports that are reserved, where no table of rules does that."""
    published = [one for one in _published(container) if one.is_served or engine.places.is_rootless]
    if published:
        sockets = engine.ports.sockets(container.id)
        mine = [(one, sockets[one.place]) for one in published if one.place in sockets]
        engine.forwarders[container.id] = Forwarder(engine.launcher, engine.loop, container.name, mine)


# Changes of a container that may be running.


async def connect(engine: "Engine", container: "Container", network: "Network", settings: "Json") -> None:
    """Give the container a place in the network. Raises ApiError, with docker's words; nothing has changed then."""
    async with container.turns:
        _refuse(container, network)
        if network.name in container.endpoints:
            raise ApiError(403, f"endpoint with name {container.name} already exists in network {network.name}")
        endpoint = endpoints.new(network.id, settings)
        check_place(network, endpoint)
        if container.is_running:
            await networks.prepare(engine, network)
            engine.networks.find(network.id)  # it may have been removed meanwhile
            _allocate(engine, endpoint, network)
        places = {**container.document["Endpoints"], network.name: endpoint.settings}
        await _change(engine, container, places, {"do": "join", **_described(container, network, endpoint)})
        tell(engine, container, [network] if endpoint.id else [], "connect")


async def disconnect(engine: "Engine", container: "Container", network: "Network") -> None:
    """Take the container's place in the network away. Raises ApiError, with docker's words."""
    async with container.turns:
        _refuse_removed(container)
        if network.name == "host":
            raise ApiError(400, "container cannot be disconnected from host network or connected to host network")
        endpoint = container.endpoints.get(network.name)
        if endpoint is None:
            raise ApiError(500, f"container {container.id} is not connected to network {network.name}")
        places = {name: one for name, one in container.document["Endpoints"].items() if name != network.name}
        await _change(engine, container, places, {"do": "leave", **_described(container, network, endpoint)})
        tell(engine, container, [network] if endpoint.id else [], "disconnect")


def _described(container: "Container", network: "Network", endpoint: "Endpoint") -> "Json":
    """Return what workers need to know of a place that comes or goes."""
    place = {"network": network.name, "outside": endpoint.outside, "addresses": endpoint.addresses}
    return {"id": container.id, **place}


def _refuse_removed(container: "Container") -> None:
    if container.is_removing:
        why = "is marked for removal and cannot be connected or disconnected to the network"
        raise ApiError(409, f"Container {container.id} {why}")


def _refuse(container: "Container", network: "Network") -> None:
    _refuse_removed(container)
    if container.network == "host" or container.network.startswith("container:"):
        raise ApiError(400, _SHARED)
    if network.name == "host":
        why = "container must be created with host network"
        raise ApiError(403, f"container cannot be connected to host network - {why}")
    if network.name != "none" and "none" in container.endpoints or network.name == "none" and container.endpoints:
        raise ApiError(400, _PRIVATE)


async def _change(engine: "Engine", container: "Container", places: "Json", request: "Json") -> None:
    """Let the container have `places`; if it runs, a worker does what `request` says. If that fails, it is undone.

    The request stands in container.json before the worker begins: whoever kills us leaves what recover() goes on with.
    """
    document = container.document
    before = {key: document[key] for key in ("Endpoints", "WayOut", "Ports")}
    document["Endpoints"] = places
    try:
        if container.is_running:
            document["Change"] = {**request, "routes": await _move_way_out(engine, container)}
        container.save()
        if container.is_running:
            await _carry_out(engine, container)
            await naming.again(engine, container)
    except BaseException:
        has_moved = document["WayOut"] != before["WayOut"]
        document.update(before)
        if has_moved:
            await release(engine, container)
            engine.ports.reserve_again(container.id, _published(container))
            _forward(engine, container)
        if "Change" in document:
            document["Change"]["do"] = _OPPOSITES[request["do"]]
            await _go_on(engine, container)
        raise


async def _move_way_out(engine: "Engine", container: "Container") -> bool:
    """Return whether the container's way out, and with it its ports, must be others. Raises ApiError."""
    way_out = _way_out(container, _known(engine, container))
    if way_out == container.way_out:
        return False
    await release(engine, container)
    container.document["WayOut"] = way_out
    _reserve(engine, container)
    _forward(engine, container)
    return True


async def _carry_out(engine: "Engine", container: "Container") -> None:
    """Have a worker make the change that container.json speaks of. Raises ApiError and OSError."""
    await engine.launcher.do(engine.loop, container.document["Change"])
    del container.document["Change"]
    container.save()


async def _go_on(engine: "Engine", container: "Container") -> None:
    """Finish, or undo, a change that was interrupted. Of a container that has ended nothing is left."""
    try:
        container.save()
        await _carry_out(engine, container)
    except (ApiError, OSError) as error:
        if isinstance(error, ApiError) and error.status == 409:
            return
        print(f"pyrund: {container.id}: its networks: {reason(error)}", file=sys.stderr)


# Events.


def joined(engine: "Engine", container: "Container") -> "list[Network]":
    """Return the networks in which the container has a place now."""
    found = (engine.networks.named(name) for name, one in container.endpoints.items() if one.id)
    return [network for network in found if network]


def tell(engine: "Engine", container: "Container", of: "list[Network]", action: str) -> None:
    """Tell of each network that the container was connected or disconnected."""
    for network in of:
        networks.tell(engine, network, action, container=container.id)
