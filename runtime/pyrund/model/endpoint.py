"""An endpoint: a container's place in a network. It is stored in container.json."""

from pyrund.net.subnet import mac_of, usual

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]

_WANTED = ("IPAMConfig", "Links", "Aliases", "DriverOpts")


class Endpoint:
    """`settings` is what container.json has:

    IPAMConfig, Links, Aliases, DriverOpts, GwPriority, WantedMac   what the client wants
    NetworkID
    EndpointID, IPAddress, IPv6Address, MacAddress                 while the container runs, otherwise ""
    """

    def __init__(self, settings: "Json") -> None:
        self.settings = settings

    @property
    def id(self) -> str:
        return str(self.settings["EndpointID"])

    @property
    def address(self) -> str:
        return str(self.settings["IPAddress"])

    @property
    def address6(self) -> str:
        return str(self.settings["IPv6Address"])

    @property
    def addresses(self) -> "list[str]":
        """Both, as far as it has them."""
        return [one for one in (self.address, self.address6) if one]

    @property
    def mac(self) -> str:
        return str(self.settings["MacAddress"])

    @property
    def outside(self) -> str:
        """The name of the interface on the host."""
        return f"veth{self.id[:7]}"

    @property
    def wanted_address(self) -> str:
        return str((self.settings["IPAMConfig"] or {}).get("IPv4Address") or "")

    @property
    def wanted_address6(self) -> str:
        wanted = (self.settings["IPAMConfig"] or {}).get("IPv6Address") or ""
        return usual(wanted) if wanted else ""

    @property
    def aliases(self) -> "list[str]":
        return list(self.settings["Aliases"] or [])

    @property
    def links(self) -> "dict[str, str]":
        """Return {alias: name of another container}: names that only this one knows."""
        pairs = (text.partition(":") for text in self.settings["Links"] or [])
        return {(alias or name).lower(): name.lstrip("/") for name, _, alias in pairs}

    @property
    def priority(self) -> int:
        return int(self.settings["GwPriority"])

    def begin(self, id_: str, address: str, address6: str, has_mac: bool) -> None:
        """The container gets its place in the network, with addresses of IPv4 and IPv6, "" if it has none there, and
        with a hardware address of its own if it `has_mac`."""
        mac = self.settings["WantedMac"] or (mac_of(address) if address and has_mac else "")
        self.settings.update(EndpointID=id_, IPAddress=address, IPv6Address=address6, MacAddress=mac)

    def end(self) -> None:
        self.settings.update(EndpointID="", IPAddress="", IPv6Address="", MacAddress="")


def new(network_id: str, wanted: "Json") -> Endpoint:
    """Return the endpoint for what a client `wanted`, an EndpointSettings of docker's API."""
    settings = {name: wanted.get(name) for name in _WANTED}
    settings.update(WantedMac=wanted.get("MacAddress") or "", GwPriority=wanted.get("GwPriority") or 0)
    settings.update(NetworkID=network_id)
    made = Endpoint(settings)
    made.end()
    return made
