"""A client's request for a network, and for a place in one: what may be asked for, and docker's words for the rest."""

import _socket

from pyrund.errors import ApiError, missing
from pyrund.model import network
from pyrund.model.network import BOOLEANS, MTU, PREDEFINED, Network, flag
from pyrund.net import subnet as addresses
from pyrund.net.bridge import is_name
from pyrund.net.parent import KINDS, OPTION
from pyrund.spec.shape import ANY_TEXT, FLAG, NUMBER, TEXT, check

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrund.model.endpoint import Endpoint
    from pyrund.net.subnet import Subnet
    from pyrund.spec.shape import Shape

    Json = dict[str, Any]

_SWARM = (
    'This node is not a swarm manager. Use "docker swarm init" or "docker swarm join" to connect this node to swarm '
)
_LARGEST_MTU = 65535
# The type of a request for a network.
_SHAPE: "Shape" = {
    "Name": TEXT,
    "Driver": TEXT,
    "Scope": TEXT,
    **dict.fromkeys("Internal Attachable Ingress ConfigOnly EnableIPv4 EnableIPv6 CheckDuplicate".split(), FLAG),
    "ConfigFrom": {"Network": TEXT},
    "Options": {str: TEXT},
    "Labels": {str: ANY_TEXT},
    "IPAM": {
        "Driver": TEXT,
        "Options": {str: TEXT},
        "Config": [
            {
                **dict.fromkeys(("Subnet", "IPRange", "Gateway"), TEXT),
                **dict.fromkeys(("AuxiliaryAddresses", "AuxAddress"), {str: TEXT}),
            }
        ],
    },
}


def requested(given: "Json", id_: str, find: "Callable[[str], Network | None]") -> Network:
    """Return the network that the client wants, not saved yet; it has a subnet if he gives one. Raises ApiError.

    `find` returns the network with a name, for the configuration of another one.
    """
    check(given, _SHAPE, "")
    name, driver = given.get("Name") or "", given.get("Driver") or "bridge"
    if not name.strip():
        raise ApiError(400, "invalid name: name is empty")
    if name in PREDEFINED or name == "default":
        raise ApiError(403, f"operation is not permitted on predefined {name} network ")
    source = (given.get("ConfigFrom") or {}).get("Network") or ""
    if given.get("ConfigOnly"):
        return _configuration(given, network.new(id_, name, "null"), source)
    if source:
        given = _configured(given, source, find(source))
    _check_driver(driver, given.get("Scope") or "")
    if given.get("Ingress"):
        raise ApiError(403, "Ingress network can only be global scope network")
    if given.get("EnableIPv4") is False:
        raise missing("a network without IPv4")
    made = network.new(id_, name, driver)
    made.document.update({key: bool(given.get(key)) for key in ("Internal", "Attachable", "EnableIPv6")})
    made.document["ConfigFrom"] = source
    _take_options(made, given)
    _check_options(made)
    _take_addresses(made, given.get("IPAM") or {})
    return made


def _take_options(made: Network, given: "Json") -> None:
    labels = {key: value or "" for key, value in (given.get("Labels") or {}).items()}
    made.document.update(Options=given.get("Options") or {}, Labels=labels)


def _configuration(given: "Json", made: Network, source: str) -> Network:
    """Return what other networks can have as their configuration. What the driver says of it is known only then."""
    if any(given.get(key) for key in ("Internal", "Attachable", "Ingress", "Scope")):
        raise ApiError(
            403,
            "configuration network can only contain network specific fields. Network operator fields like "
            "[ ingress | internal | attachable | scope ] are not supported.",
        )
    if source:
        raise ApiError(403, "a configuration network cannot depend on another configuration network")
    ipam = given.get("IPAM") or {}
    pools = [pool for pool in ipam.get("Config") or [] if pool]
    for pool in pools:
        _subnet(pool.get("Subnet") or "", "subnet")
    made.document.update(ConfigOnly=True, EnableIPv6=bool(given.get("EnableIPv6")))
    made.document["IPAM"] = {
        "Driver": ipam.get("Driver") or "default",
        "Options": ipam.get("Options"),
        "Config": pools or None,
    }
    _take_options(made, given)
    return made


def _configured(given: "Json", source: str, found: "Network | None") -> "Json":
    """Return the request with the configuration of another network."""
    ipam = given.get("IPAM") or {}
    has_ipam = (ipam.get("Driver") or "default") != "default" or ipam.get("Options") or ipam.get("Config")
    if has_ipam or given.get("EnableIPv6") or given.get("Labels"):
        raise ApiError(
            403,
            "user specified configurations are not supported if the network depends on a configuration network",
        )
    if given.get("Options"):
        raise ApiError(
            403, "network driver options are not supported if the network depends on a configuration network"
        )
    if not (found and found.is_configuration):
        raise ApiError(404, f'configuration network "{source[:80]}" does not exist')
    return {**given, **{key: found.document[key] for key in ("EnableIPv6", "IPAM", "Options", "Labels")}}


def _check_driver(driver: str, scope: str) -> None:
    """Raise ApiError, as dockerd does without a swarm, unless the driver makes networks on this host alone. For any
    other scope dockerd asks the swarm."""
    if driver == "overlay" and scope == "local":
        raise ApiError(403, "cannot downgrade network scope for overlay networks")
    if scope == "swarm":
        raise ApiError(403, "cannot create a swarm scoped network when swarm is not active")
    if driver in ("host", "null"):
        raise ApiError(403, f'only one instance of "{driver}" network is allowed')
    if driver == "overlay" or scope not in ("", "local"):
        raise ApiError(503, f"{_SWARM}and try again.")
    if driver not in ("bridge", *KINDS):
        raise _without_plugin(driver)


def _without_plugin(name: str) -> ApiError:
    return ApiError(404, f'plugin "{name[:80]}" not found')


def _check_options(made: Network) -> None:
    options = made.document["Options"]
    if made.has_parent:
        made.parent.check()
        if options.get(OPTION) and not is_name(options[OPTION]):
            raise ApiError(400, f"invalid name of an interface: {options[OPTION][:80]}")
        return
    for name, value in options.items():
        if name in BOOLEANS and flag(value) is None:
            why = f'strconv.ParseBool: parsing "{value[:80]}": invalid syntax'
            raise ApiError(400, f"failed to parse {name} value: {value[:80]} ({why})")
        if name == MTU and not (value.isascii() and value.isdigit() and 68 <= int(value[:9]) <= _LARGEST_MTU):
            raise ApiError(400, f"failed to parse {name} value: {value[:80]}")
        if name.startswith("com.docker.network.bridge.gateway_mode") and value != "nat":
            raise missing(f"{name}={value[:80]}")
        if name == network.BRIDGE_NAME and not is_name(value):
            raise ApiError(400, f"invalid name of a bridge: {value[:80]}")
        if name == network.HOST_ADDRESS:
            _packed(value, f"invalid IP address: {value[:80]}")


def _take_addresses(made: Network, ipam: "Json") -> None:
    if (ipam.get("Driver") or "default") != "default":
        raise _without_plugin(ipam["Driver"])
    pools = [pool for pool in ipam.get("Config") or [] if pool]
    made.document["IPAM"] = {"Driver": "default", "Options": ipam.get("Options"), "Config": pools or None}
    for of_ipv6 in (False, True):
        some = [pool for pool in pools if (":" in (pool.get("Subnet") or "")) == of_ipv6]
        if len(some) > 1:
            raise ApiError(403, "bridge driver doesn't support multiple subnets")
        if some:
            _take_pool(made, some[0], of_ipv6)


def _take_pool(made: Network, pool: "Json", of_ipv6: bool) -> None:
    subnet = _subnet(pool.get("Subnet") or "", "subnet")
    if not 0 < subnet.prefix < subnet.bits - 1:
        raise _refused(f"invalid subnet {subnet}: it has no addresses for containers")
    part, gateway = pool.get("IPRange") or "", pool.get("Gateway") or ""
    if of_ipv6 and not made.document["EnableIPv6"]:
        raise _refused(f"invalid subnet {subnet}: IPv6 has not been enabled for this network")
    reserved = pool.get("AuxiliaryAddresses") or pool.get("AuxAddress") or {}
    if part:
        _check_part(part, subnet)
    for what, address in [("gateway", gateway), *(("auxiliary address", one) for one in reserved.values())]:
        if address:
            _packed(address, f"invalid network config:\ninvalid {what} {address[:80]}: invalid address")
            if not subnet.holds(address):
                raise _refused(f"invalid {what} {address}: parent subnet {subnet} doesn't contain this address")
    document = made.document
    document["Reserved"] = [*document["Reserved"], *map(addresses.usual, filter(None, reserved.values()))]
    if of_ipv6:
        document["Subnet6"] = str(subnet)
        document["Gateway6"] = addresses.usual(gateway) if gateway else made.free_address6([])
    else:
        document.update(Subnet=str(subnet), Range=part)
        document["Gateway"] = gateway or made.free_address([])


def _check_part(part: str, subnet: "Subnet") -> None:
    if subnet.bits == 128:
        raise missing("an ip-range of IPv6")
    inner = _subnet(part, "ip-range")
    if inner.base < subnet.base or inner.end > subnet.end:
        raise _refused(f"invalid ip-range {part}: parent subnet {subnet} doesn't contain ip-range")


def _subnet(text: str, what: str) -> "Subnet":
    try:
        found = addresses.parse(text)
    except ValueError:
        raise _refused(f"invalid {what} {text[:80]}: invalid CIDR block notation") from None
    masked = addresses.Subnet(found.base & found.mask, found.prefix, found.bits)
    if masked.base != found.base:
        raise _refused(f"invalid {what} {text}: it should be {masked}")
    return found


def _refused(why: str) -> ApiError:
    return ApiError(400, f"invalid network config:\n{why}")


# Endpoints.

# The type of what a client says of one, EndpointSettings.
ENDPOINT: "Shape" = {
    "IPAMConfig": {"IPv4Address": TEXT, "IPv6Address": TEXT, "LinkLocalIPs": [TEXT]},
    "Links": [TEXT],
    "Aliases": [TEXT],
    "MacAddress": TEXT,
    "DriverOpts": {str: TEXT},
    "GwPriority": NUMBER,
}
_KNOWN = (
    "IPAMConfig Links Aliases MacAddress DriverOpts GwPriority NetworkID EndpointID Gateway IPAddress IPPrefixLen "
    "IPv6Gateway GlobalIPv6Address GlobalIPv6PrefixLen DNSNames"
).split()


def endpoint_settings(given: "Json") -> "Json":
    """Return an EndpointSettings of a client, which has the shape ENDPOINT, if it makes sense. Raises ApiError."""
    ipam = given.get("IPAMConfig") or {}
    for key, value in given.items():
        if value and key not in _KNOWN:
            raise missing(f"{key[:80]} of an endpoint")
    if ipam.get("LinkLocalIPs"):
        raise missing("a link-local address")
    for kind, size in (("IPv4", 4), ("IPv6", 16)):
        address = ipam.get(f"{kind}Address") or ""
        why = f"invalid endpoint settings:\ninvalid {kind} address: {address[:80]}"
        if address and len(_packed(address, why)) != size:
            raise ApiError(400, why)
    mac(given.get("MacAddress") or "")
    return given


def mac(text: str) -> str:
    """Return the hardware address in its usual form. Raises ApiError."""
    parts = text.replace("-", ":").lower().split(":")
    if text and not (
        len(parts) == 6 and all(len(part) == 2 and set(part) <= set("0123456789abcdef") for part in parts)
    ):
        raise ApiError(400, f"invalid MAC address: {text[:80]}")
    return ":".join(parts)


def check_place(network: Network, endpoint: "Endpoint") -> None:
    """Raise ApiError if the network cannot have such an endpoint."""
    if network.is_configuration:
        raise ApiError(403, "cannot create endpoint on configuration-only network")
    why = ""
    wanted = [one for one in (endpoint.wanted_address, endpoint.wanted_address6) if one]
    subnets = [one for one in (network.document["Subnet"], network.document["Subnet6"]) if one]
    lost = [one for one in wanted if not any(addresses.parse(subnet).holds(one) for subnet in subnets)]
    if network.is_predefined and endpoint.aliases:
        why = "network-scoped alias is supported only for containers in user defined networks"
    elif network.is_predefined and wanted:
        why = "user specified IP address is supported on user defined networks only"
    elif wanted and not network.document["IPAM"]["Config"]:
        why = "user specified IP address is supported only when connecting to networks with user configured subnets"
    elif network.document["Driver"] == "ipvlan" and endpoint.settings["WantedMac"]:
        raise ApiError(500, "ipvlan interfaces do not support custom mac address assignment")
    elif lost:
        why = f"no configured subnet or ip-range contain the IP address {lost[0]}"
    if why:
        raise ApiError(400, f"invalid endpoint settings:\n{why}")


# Names.


def check_names(given: "Json") -> None:
    """Raise ApiError for what HostConfig says of name servers and links, if it makes no sense."""
    for name in ("Dns", "DnsSearch", "DnsOptions"):
        for text in given.get(name) or []:
            if not text or text.split() != [text] or name == "Dns" and not _is_address(text):
                raise ApiError(400, f"invalid {'IP address' if name == 'Dns' else name}: {text[:80]}")
    for text in given.get("ExtraHosts") or []:
        address = text.partition(":")[2].strip("[]")
        if address != "host-gateway" and not _is_address(address):
            raise ApiError(400, f'invalid IP address in add-host: "{address[:80]}"')
    _check_links(given)


def _is_address(text: str) -> bool:
    try:
        return bool(_socket.inet_pton(_socket.AF_INET6 if ":" in text else _socket.AF_INET, text))
    except OSError:
        return False


def _check_links(given: "Json") -> None:
    kind = (given.get("NetworkMode") or "default").partition(":")[0]
    if not given.get("Links"):
        return
    if kind in ("host", "container"):
        why = f"{kind} type networking can't be used with links. This would result in undefined behavior"
        raise ApiError(400, f"conflicting options: {why}")


def _packed(address: str, why: str) -> bytes:
    try:
        return addresses.packed(address)
    except ValueError:
        raise ApiError(400, why) from None
