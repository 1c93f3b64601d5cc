"""What happens to networks: they are made and removed, and what they are on the host is made again."""

from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.daemon.engine import Engine
    from pyrund.model.container import Container
    from pyrund.model.network import Network


async def create(engine: "Engine", wanted: "Network") -> None:
    """Make a network. Raises ApiError, with docker's words; there is none then."""
    _refuse_twins(engine, wanted)
    if wanted.is_configuration:
        engine.networks.add(wanted)
        tell(engine, wanted, "create")
        return
    if wanted.names_its_bridge:
        await engine.launcher.do(engine.loop, {"do": "networks", "absent": wanted.bridge_name})
        _refuse_twins(engine, wanted)  # that may have been made meanwhile
    _choose_default_subnet(engine)  # first, because it is the first of the pools everywhere
    if wanted.document["Subnet"]:
        engine.networks.refuse_overlap(wanted.subnet)
    else:
        engine.networks.choose_subnet(wanted)
    if wanted.subnet6:
        engine.networks.refuse_overlap(wanted.subnet6)
    elif wanted.document["EnableIPv6"]:
        engine.networks.choose_subnet6(wanted)
    engine.networks.add(wanted)
    try:
        await remake(engine, new=wanted.id)
    except BaseException:
        engine.networks.remove(wanted)
        raise
    tell(engine, wanted, "create")


def _refuse_twins(engine: "Engine", wanted: "Network") -> None:
    if engine.networks.named(wanted.name):
        raise ApiError(409, f"network with name {wanted.name} already exists")
    for other in engine.networks:
        if wanted.has_parent and other.document["Driver"] == wanted.document["Driver"]:
            if other.parent.name == wanted.parent.name:
                taken = f"network {other.parent.alias} is already using parent interface {other.parent.name}"
                raise ApiError(500, taken)
        elif other.is_bridge and wanted.is_bridge and other.bridge_name == wanted.bridge_name:
            why = f"conflicts with network {other.id} ({other.bridge_name}): networks have same bridge name"
            raise ApiError(403, f"cannot create network {wanted.id} ({wanted.bridge_name}): {why}")


async def remove(engine: "Engine", network: "Network") -> None:
    """Remove a network. Raises ApiError, with docker's words."""
    if network.is_predefined:
        raise ApiError(403, f"{network.name} is a pre-defined network and cannot be removed")
    if any(one.configuration == network.name for one in engine.networks):
        why = f'configuration network "{network.name}" is in use'
        raise ApiError(403, f"error while removing network: {why}")
    active = [(one.name, one.endpoints[network.name].id[:12]) for one in members(engine, network)]
    if active:
        shown = ", ".join(f'name:"{name}" id:"{id_}"' for name, id_ in active)
        raise ApiError(403, f"error while removing network: network {network.name} has active endpoints ({shown})")
    engine.networks.remove(network)
    await remake(engine)
    tell(engine, network, "destroy")


def members(engine: "Engine", network: "Network") -> "list[Container]":
    """Return the containers that have a place in the network now."""
    found = ((one, one.endpoints.get(network.name)) for one in engine.containers)
    return [one for one, endpoint in found if endpoint and endpoint.id]


def _choose_default_subnet(engine: "Engine") -> None:
    for one in engine.networks:
        if one.is_bridge and not one.has_addresses:
            engine.networks.choose_default_subnets(one)
            one.save(engine.places)


async def prepare(engine: "Engine", network: "Network") -> None:
    """Make the default bridge when it is used for the first time."""
    if not network.gives_addresses or network.has_addresses:
        return
    _choose_default_subnet(engine)
    await remake(engine)


async def remake(engine: "Engine", ends: "list[list[str]] | None" = None, new: str = "") -> None:
    """Make all bridges that are missing, and the table of rules, anew; remove those of networks that are gone.

    `ends`: [[network id, name of an interface]] of running containers. `new` is the id of a network that is just made.
    """
    found = await engine.launcher.do(engine.loop, {"do": "networks", "ends": ends or [], "new": new})
    if engine.settings.userland_proxy is None:
        engine.serves_ports = found["drops"]


def tell(engine: "Engine", network: "Network", action: str, **more: str) -> None:
    """Tell what has happened to the network."""
    attributes = {**more, "name": network.name, "type": network.document["Driver"]}
    engine.events.tell("network", action, network.id, attributes)
