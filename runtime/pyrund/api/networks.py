"""Networks; also plugins and what belongs to a swarm, of which there are none: empty lists, or docker's error."""

from pyrund.api.filters import before, flag, has_labels, named_by
from pyrund.api.prune import one_at_a_time
from pyrund.daemon import networking, networks
from pyrund.errors import ApiError
from pyrund.http.response import Response
from pyrund.model import names
from pyrund.model.network import PREDEFINED
from pyrund.model.times import seconds
from pyrund.spec import network as spec
from pyrund.spec.shape import TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.daemon.engine import Engine
    from pyrund.http.request import Request
    from pyrund.http.router import Router
    from pyrund.model.container import Container
    from pyrund.model.network import Network

    Json = dict[str, Any]

_SHOWN = ("Name", "Id", "Created", "Driver", "Internal", "Attachable", "EnableIPv6")
_FILTERS = frozenset("dangling driver id label name scope type".split())
_CONNECTION = {"Container": TEXT, "EndpointConfig": spec.ENDPOINT}
_PRUNE_FILTERS = frozenset(("label", "label!", "until"))
NO_SWARM = ("nodes", "services", "tasks", "secrets", "configs", "swarm")  # kinds of resources that only a swarm has
_WHY_NO_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
    "and try again."
)


def add_routes(router: "Router", engine: "Engine") -> None:
    api = NetworksApi(engine)
    router.add("GET", "/networks", api.list_all)
    router.add("POST", "/networks/create", api.create)
    router.add("POST", "/networks/prune", one_at_a_time(api.prune))
    router.add("GET", "/networks/{}", api.inspect)
    router.add("DELETE", "/networks/{}", api.remove)
    router.add("POST", "/networks/{}/connect", api.connect)
    router.add("POST", "/networks/{}/disconnect", api.disconnect)
    router.add("GET", "/plugins", api.plugins)
    router.add("GET", "/plugins/{}/json", api.plugin)
    router.add("DELETE", "/plugins/{}", api.plugin)
    for action in ("enable", "disable", "set", "upgrade", "push"):
        router.add("POST", f"/plugins/{{}}/{action}", api.plugin)
    for name in NO_SWARM:
        router.add("GET", f"/{name}", api.swarm)
        for method in ("GET", "POST", "DELETE"):
            router.add(method, f"/{name}/{{}}", api.swarm)
    router.add("POST", "/swarm/leave", api.leave_swarm)


class NetworksApi:
    def __init__(self, engine: "Engine") -> None:
        self._engine = engine

    async def create(self, request: "Request") -> Response:
        wanted = spec.requested(request.json(), names.new_id(), self._engine.networks.named)
        await networks.create(self._engine, wanted)
        return Response(201, {"Id": wanted.id, "Warning": ""})

    async def list_all(self, request: "Request") -> Response:
        filters = request.filters(_FILTERS)
        is_named = named_by(filters)
        found = [one for one in self._engine.networks if is_named(one.name) and self._matches(one, filters)]
        return Response(200, [self._described(one) for one in found])

    def _matches(self, one: "Network", filters: "dict[str, list[str]]") -> bool:
        document = one.document
        is_dangling = not one.is_predefined and not networks.members(self._engine, one)
        return (
            any(one.id.startswith(text) for text in filters.get("id", [one.id]))
            and document["Driver"] in filters.get("driver", [document["Driver"]])
            and "local" in filters.get("scope", ["local"])
            and _is_of_type(one, filters.get("type", []))
            and flag(filters, "dangling") in (None, is_dangling)
            and has_labels(document["Labels"], filters)
        )

    async def inspect(self, request: "Request") -> Response:
        if request.query.get("scope", "") not in ("", "local"):
            raise ApiError(404, f"network {request.values[0][:80]} not found")
        return Response(200, self._described(self._engine.networks.find(request.values[0])))

    async def remove(self, request: "Request") -> Response:
        await networks.remove(self._engine, self._engine.networks.find(request.values[0]))
        return Response(204)

    async def prune(self, request: "Request") -> Response:
        filters = request.filters(_PRUNE_FILTERS)
        end, removed = before(filters), []
        for one in list(self._engine.networks):
            is_there = self._engine.networks.named(one.name) is one  # another client may have removed it meanwhile
            is_kept = one.is_predefined or one.is_configuration
            is_unused = is_there and not is_kept and not networks.members(self._engine, one)
            is_old = end is None or seconds(one.document["Created"]) < end
            if is_unused and is_old and has_labels(one.document["Labels"], filters):
                await networks.remove(self._engine, one)
                removed.append(one.name)
        self._engine.events.tell("network", "prune", "", {"reclaimed": "0"})
        return Response(200, {"NetworksDeleted": removed or None})

    async def connect(self, request: "Request") -> Response:
        given = request.json()
        check(given, _CONNECTION, "")
        network = self._engine.networks.find(request.values[0])
        container = self._engine.containers.find(given.get("Container") or "")
        settings = spec.endpoint_settings(given.get("EndpointConfig") or {})
        await networking.connect(self._engine, container, network, settings)
        return Response(200)

    async def disconnect(self, request: "Request") -> Response:
        given = request.json()
        check(given, _CONNECTION, "")
        network = self._engine.networks.find(request.values[0])
        container = self._engine.containers.find(given.get("Container") or "")
        await networking.disconnect(self._engine, container, network)
        return Response(200)

    def _described(self, network: "Network") -> "Json":
        document = network.document
        return {
            **{name: document[name] for name in _SHOWN},
            "Scope": "local",
            "EnableIPv4": True,
            "IPAM": {**document["IPAM"], "Config": _pools(network)},
            "Ingress": False,
            "ConfigFrom": {"Network": network.configuration},
            "ConfigOnly": network.is_configuration,
            "Containers": {one.id: _member(network, one) for one in networks.members(self._engine, network)},
            "Options": network.options_shown,
            "Labels": document["Labels"],
        }

    async def plugins(self, request: "Request") -> Response:
        return Response(200, [])

    async def plugin(self, request: "Request") -> Response:
        raise ApiError(404, f'plugin "{request.values[0][:80]}" not found')

    async def swarm(self, request: "Request") -> Response:
        raise ApiError(503, _WHY_NO_SWARM)

    async def leave_swarm(self, request: "Request") -> Response:
        raise ApiError(503, "This node is not part of a swarm")


def _member(network: "Network", container: "Container") -> "Json":
    endpoint = container.endpoints[network.name]
    return {
        "Name": container.name,
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac,
        "IPv4Address": f"{endpoint.address}/{network.subnet.prefix}" if endpoint.address else "",
        "IPv6Address": f"{endpoint.address6}/{network.subnet6.prefix}" if endpoint.address6 and network.subnet6 else "",
    }


def _pools(network: "Network") -> "list[Json]":
    """Return the pools that the client has given, IPv4 before IPv6, and then the subnet that the engine has chosen for
    a family without such a pool."""
    document, wanted = network.document, network.document["IPAM"]["Config"] or []
    families = [[one for one in wanted if (":" in (one.get("Subnet") or "")) == of_ipv6] for of_ipv6 in (False, True)]
    chosen = [(document["Subnet"], network.gateway), (document["Subnet6"], network.gateway6)]
    return [one for given in families for one in given] + [
        {"Subnet": subnet, "Gateway": gateway}
        for given, (subnet, gateway) in zip(families, chosen)
        if subnet and not given
    ]


def _is_of_type(one: "Network", wanted: "list[str]") -> bool:
    for text in wanted:
        if text not in ("builtin", "custom"):
            raise ApiError(400, f"invalid filter: 'type'='{text[:80]}'")
    return not wanted or ("builtin" if one.name in PREDEFINED else "custom") in wanted
