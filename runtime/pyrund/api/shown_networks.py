"""A container's networks and ports as JSON, as lists and inspect show them."""

from pyrund.spec.port_bindings import parsed

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.container import Container
    from pyrund.model.endpoint import Endpoint
    from pyrund.model.networks import Networks

    Json = dict[str, Any]

_OF_THE_DEFAULT_BRIDGE = (
    "EndpointID Gateway GlobalIPv6Address GlobalIPv6PrefixLen IPAddress IPPrefixLen IPv6Gateway MacAddress"
).split()


def settings(container: "Container", networks: "Networks") -> "Json":
    """Return NetworkSettings of inspect."""
    known = endpoints(container, networks)
    bridge = known.get("bridge") or dict.fromkeys(_OF_THE_DEFAULT_BRIDGE, "")
    return {
        **dict.fromkeys(("Bridge", "SandboxID", "SandboxKey", "LinkLocalIPv6Address"), ""),
        "SandboxKey": f"/proc/{container.pid}/ns/net" if container.is_running else "",
        "HairpinMode": False,
        "LinkLocalIPv6PrefixLen": 0,
        "Ports": _ports(container, networks) if container.is_running else {},
        "SecondaryIPAddresses": None,
        "SecondaryIPv6Addresses": None,
        **{name: bridge[name] or (0 if name.endswith("Len") else "") for name in _OF_THE_DEFAULT_BRIDGE},
        "Networks": known,
    }


def endpoints(container: "Container", networks: "Networks") -> "Json":
    return {name: _endpoint(container, name, one, networks) for name, one in container.endpoints.items()}


def _endpoint(container: "Container", name: str, endpoint: "Endpoint", networks: "Networks") -> "Json":
    network = networks.named(name)
    has_address = bool(network and endpoint.address)
    wanted = {key: endpoint.settings[key] for key in ("IPAMConfig", "Links", "Aliases", "DriverOpts", "GwPriority")}
    return {
        **wanted,
        "NetworkID": endpoint.settings["NetworkID"],
        "EndpointID": endpoint.id,
        "MacAddress": endpoint.mac or endpoint.settings["WantedMac"],
        "Gateway": network.gateways[0] if network and has_address else "",
        "IPAddress": endpoint.address,
        "IPPrefixLen": network.subnet.prefix if network and has_address else 0,
        "IPv6Gateway": network.gateways[1] if network and endpoint.address6 else "",
        "GlobalIPv6Address": endpoint.address6,
        "GlobalIPv6PrefixLen": network.subnet6.prefix if network and network.subnet6 and endpoint.address6 else 0,
        "DNSNames": container.names_in(endpoint) if network and not network.is_predefined else None,
    }


def _ports(container: "Container", networks: "Networks") -> "Json":
    """Return the published ports; one that is only exposed has None."""
    found: Json = {"{1}/{0}".format(*one): None for one in _exposed(container, networks)}
    for protocol, port, host_address, host_port, *_ in container.document["Ports"]:
        name = f"{port}/{protocol}"
        found[name] = [*(found.get(name) or []), {"HostIp": host_address, "HostPort": str(host_port)}]
    return found


def ports_listed(container: "Container", networks: "Networks") -> "list[Json]":
    """Return the ports as a list of containers shows them."""
    if not container.is_running:
        return []
    published = container.document["Ports"]
    found: list[Json] = [
        {"IP": host_address, "PrivatePort": port, "PublicPort": host_port, "Type": protocol}
        for protocol, port, host_address, host_port, *_ in published
    ]
    exposed = _exposed(container, networks) - {(protocol, port) for protocol, port, *_ in published}
    return found + [{"PrivatePort": port, "Type": protocol} for protocol, port in sorted(exposed)]


def _exposed(container: "Container", networks: "Networks") -> "set[tuple[str, int]]":
    """Return the ports that a bridge has for others; other networks have no ports of a container."""
    places = [networks.named(name) for name, one in container.endpoints.items() if one.address]
    if not any(network and network.is_bridge for network in places):
        return set()
    wanted = container.host_config.get("PortBindings") or {}
    return {parsed(name) for name in (*container.config["ExposedPorts"], *wanted)}
