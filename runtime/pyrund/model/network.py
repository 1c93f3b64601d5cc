"""A network: its document on disk, and which addresses it has for containers."""

import json
import sys

from foundation.errors import Error
from foundation.linux import os, whole_file
from pyrund.errors import ApiError
from pyrund.model.times import now
from pyrund.net import subnet as addresses
from pyrund.net.bridge import DEFAULT, Bridge
from pyrund.net.parent import KINDS, Parent
from pyrund.net.subnet import Subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable
    from typing import Any

    from pyrund.places import Places

    Json = dict[str, Any]

PREDEFINED = {"bridge": "bridge", "host": "host", "none": "null"}  # names and their drivers
MTU = "com.docker.network.driver.mtu"
BRIDGE_NAME = "com.docker.network.bridge.name"
HOST_ADDRESS = "com.docker.network.bridge.host_binding_ipv4"
_JOINS, _MASQUERADES = "com.docker.network.bridge.enable_icc", "com.docker.network.bridge.enable_ip_masquerade"
_IS_DEFAULT = "com.docker.network.bridge.default_bridge"
_USUAL_MTU = 1500
BOOLEANS = (_JOINS, _MASQUERADES)
_REMOVED = ".removed"
_FIELDS = frozenset(
    "Id Name Created Driver Internal Attachable EnableIPv6 IPAM Options Labels Subnet Gateway Range Reserved "
    "Subnet6 Gateway6".split()
)


class Network:
    """A network. `document` is what networks/ID.json holds:

    Id, Name, Created, Driver, Internal, Attachable, EnableIPv6, IPAM, Options, Labels   as in docker's API
    Subnet, Gateway   its addresses, "" if they are not chosen yet, or if it has none
    Subnet6, Gateway6 those of IPv6
    Range             the part of Subnet from which containers get addresses, "" for all of it
    Reserved          addresses that no container gets
    ConfigOnly        whether it is only a configuration, which other networks can have
    ConfigFrom        the name of the network whose configuration it has, "" if it has its own

    Documents of earlier engines lack the last two.
    """

    def __init__(self, document: "Json") -> None:
        self.document = document

    @property
    def id(self) -> str:
        return str(self.document["Id"])

    @property
    def name(self) -> str:
        return str(self.document["Name"])

    @property
    def is_bridge(self) -> bool:
        return bool(self.document["Driver"] == "bridge")

    @property
    def has_parent(self) -> bool:
        """Whether its containers are neighbours of the host's own, by an interface of the host."""
        return self.document["Driver"] in KINDS

    @property
    def gives_addresses(self) -> bool:
        return self.is_bridge or self.has_parent

    @property
    def is_configuration(self) -> bool:
        return bool(self.document.get("ConfigOnly"))

    @property
    def configuration(self) -> str:
        """The name of the network whose configuration it has, "" if it has its own."""
        return str(self.document.get("ConfigFrom") or "")

    @property
    def is_predefined(self) -> bool:
        return self.name in PREDEFINED

    @property
    def is_internal(self) -> bool:
        """Whether nothing leads out of it."""
        return bool(self.document["Internal"] or (self.has_parent and self.parent.is_dummy))

    @property
    def subnet(self) -> Subnet:
        return addresses.parse(self.document["Subnet"])

    @property
    def subnet6(self) -> "Subnet | None":
        return addresses.parse(self.document["Subnet6"]) if self.document["Subnet6"] else None

    @property
    def gateway6(self) -> str:
        return str(self.document["Gateway6"])

    @property
    def gateway(self) -> str:
        return str(self.document["Gateway"])

    @property
    def kept(self) -> "list[str]":
        """The addresses that no container can have, whatever its client wants."""
        subnets = [self.subnet, *([self.subnet6] if self.subnet6 else [])]
        edges = [addresses.shown(one, subnet.bits) for subnet in subnets for one in (subnet.base, subnet.end - 1)]
        return [self.gateway, self.gateway6, *self.document["Reserved"], *edges]

    @property
    def host_address(self) -> str:
        """The host's address at which ports are published if the client names none, "" for all."""
        return str(self.document["Options"].get(HOST_ADDRESS) or "")

    @property
    def names_its_bridge(self) -> bool:
        """Whether the client has chosen the bridge's name."""
        return self.is_bridge and bool(self.document["Options"].get(BRIDGE_NAME))

    @property
    def bridge_name(self) -> str:
        default = DEFAULT if self.is_predefined else f"br-{self.id[:12]}"
        return str(self.document["Options"].get(BRIDGE_NAME) or default)

    @property
    def options_shown(self) -> "dict[str, str]":
        """The driver's options; of the default bridge, as dockerd shows them, all of them."""
        given: dict[str, str] = self.document["Options"]
        if not self.is_bridge or not self.is_predefined:
            return given
        defaults = {_IS_DEFAULT: "true", _JOINS: "true", _MASQUERADES: "true", HOST_ADDRESS: "0.0.0.0"}
        return {**defaults, BRIDGE_NAME: self.bridge_name, MTU: str(_USUAL_MTU), **given}

    @property
    def has_addresses(self) -> bool:
        """Whether all are chosen that it shall have."""
        return bool(self.document["Subnet"] and (self.document["Subnet6"] or not self.document["EnableIPv6"]))

    @property
    def gateways(self) -> "tuple[str, str]":
        """Return the gateways that a container has, of IPv4 and IPv6, "" if it has none."""
        if self.has_parent and (self.is_internal or not self.parent.has_neighbours):
            return "", ""
        return self.gateway, self.gateway6

    @property
    def parent(self) -> Parent:
        return Parent(self.document["Driver"], self.id, self.document["Options"])

    def base(self) -> "Bridge | Parent":
        """Return what the network is on the host. It must have a subnet."""
        if self.is_bridge:
            return self.bridge()
        made = self.parent
        made.subnet, made.subnet6 = self.subnet, self.subnet6
        made.gateway, made.gateway6 = self.gateways
        made.is_internal = self.is_internal
        return made

    def bridge(self) -> Bridge:
        options = self.document["Options"]
        made = Bridge(self.bridge_name, self.subnet, self.gateway)
        made.subnet6, made.gateway6 = self.subnet6, self.gateway6
        made.is_internal = self.is_internal
        made.joins_containers = flag(options.get(_JOINS)) is not False
        made.masquerades = flag(options.get(_MASQUERADES)) is not False and not self.is_internal
        made.mtu = int(options.get(MTU) or 0)
        return made

    def free_address(self, used: "Iterable[str]") -> str:
        """Return the lowest address that no container has. Raises ApiError."""
        taken = [*used, *filter(None, [self.gateway]), *self.document["Reserved"]]
        part = addresses.parse(self.document["Range"]) if self.document["Range"] else self.subnet
        found = self.subnet.lowest_free(taken, part)
        if found is None:
            where = f"{self.name} ({part})"
            raise ApiError(403, f"no available IPv4 addresses on this network's address pools: {where}")
        return found

    def free_address6(self, used: "Iterable[str]") -> str:
        """The same of IPv6, "" if the network has none."""
        if not self.subnet6:
            return ""
        taken = [*used, *filter(None, [self.gateway6]), *self.document["Reserved"]]
        found = self.subnet6.lowest_free(taken, self.subnet6)
        if found is None:
            raise ApiError(403, f"no available IPv6 addresses on this network's address pools: {self.name}")
        return found

    def save(self, places: "Places") -> None:
        """Write the document, whole or not at all. Raises OSError; the file is then as before."""
        path = places.network(self.id)
        whole_file.replace(path, json.dumps(self.document).encode(), f"{path}.new", soon=True)


def new(id_: str, name: str, driver: str) -> Network:
    """Return a network without addresses or options, which is not saved yet."""
    document: Json = {"Id": id_, "Name": name, "Created": now(), "Driver": driver}
    document.update(dict.fromkeys(("Internal", "Attachable", "EnableIPv6", "ConfigOnly"), False))
    document.update(IPAM={"Driver": "default", "Options": None, "Config": None}, Options={}, Labels={}, ConfigFrom="")
    document.update(Subnet="", Gateway="", Range="", Reserved=[], Subnet6="", Gateway6="")
    return Network(document)


def load(places: "Places", id_: str) -> Network:
    """Return the network whose document is networks/ID.json. Raises Error if it is not one of ours, and OSError."""
    return _read(places.network(id_), id_)


def load_removed(places: "Places") -> "list[Network]":
    """Return the networks that are only left on the host."""
    names = os.listdir(places.networks) if os.path.isdir(places.networks) else []
    ids = [name[: -len(_REMOVED)] for name in names if name.endswith(_REMOVED)]
    return [_read(places.removed_network(id_), id_) for id_ in ids]


def _read(path: str, id_: str) -> Network:
    try:
        document = json.loads(whole_file.read(path))
    except ValueError as error:
        raise Error(f"{path}: {error}") from None
    if not isinstance(document, dict) or not document.keys() >= _FIELDS or document["Id"] != id_:
        raise Error(f"{path}: is not a network of this engine")
    return Network(document)


def load_all(places: "Places") -> "list[Network]":
    """Return the networks of which there are documents. One that is not of ours is told, and left as it is."""
    found = []
    for name in os.listdir(places.networks) if os.path.isdir(places.networks) else []:
        if name.endswith(".json"):  # otherwise it is half written
            try:
                found.append(load(places, name[: -len(".json")]))
            except FileNotFoundError:
                pass  # it was just removed
            except Error as error:
                print(f"pyrund: {error}: left as it is", file=sys.stderr)
    return found


def flag(text: "str | None") -> "bool | None":
    """Return a boolean among a driver's options as Go reads it; None if it is none."""
    if text in ("1", "t", "T", "TRUE", "true", "True"):
        return True
    return False if text in ("0", "f", "F", "FALSE", "false", "False") else None
