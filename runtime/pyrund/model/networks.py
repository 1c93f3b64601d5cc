"""All networks, and how a client names one: its id, its name, or a unique beginning of its id."""

from foundation.linux import os, whole_file
from pyrund.errors import ApiError
from pyrund.model import default_bridge, names, network
from pyrund.model.network import PREDEFINED, Network
from pyrund.net import subnet

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

    from pyrund.net.subnet import Subnet
    from pyrund.places import Places
    from pyrund.settings import Settings

_DIGITS_OF_SEED = 10  # 40 bits


class Networks:
    def __init__(self, places: "Places", settings: "Settings") -> None:
        """Read all networks, and make the predefined ones if they are missing. Raises Error and OSError."""
        self._places = places
        self._settings = settings
        self._by_id: dict[str, Network] = {}
        os.makedirs(places.networks, 0o700, exist_ok=True)
        for one in network.load_all(places):
            self._by_id[one.id] = one
        for name, driver in PREDEFINED.items():
            if not self.named(name) and (name != "bridge" or settings.has_bridge):
                self.add(network.new(names.new_id(), name, driver))
        bridge = self.named("bridge")  # of this engine, or of one before that had it
        if bridge:
            default_bridge.settle(bridge, settings, places)
        if bridge and not settings.has_bridge:
            os.unlink(places.network(bridge.id))
            del self._by_id[bridge.id]

    def __iter__(self) -> "Iterator[Network]":
        """Return all, the oldest first."""
        return iter(sorted(self._by_id.values(), key=lambda one: str(one.document["Created"])))

    def add(self, one: Network) -> None:
        """Save the network and know it. Raises OSError; it is not known then."""
        one.save(self._places)
        self._by_id[one.id] = one

    def remove(self, one: Network) -> None:
        """Forget the network. Its document stays until a worker has removed what it is on the host. Raises OSError."""
        os.rename(self._places.network(one.id), self._places.removed_network(one.id))
        del self._by_id[one.id]

    def named(self, name: str) -> "Network | None":
        return next((one for one in self._by_id.values() if one.name == name), None)

    def find(self, reference: str) -> Network:
        """Return the network that `reference` names. Raises ApiError, with docker's words."""
        found = self._by_id.get(reference) or self.named(reference)
        if found:
            return found
        matching = [one for id_, one in self._by_id.items() if reference and id_.startswith(reference)]
        if len(matching) > 1:
            count = len(matching)
            raise ApiError(400, f"network {reference} is ambiguous ({count} matches found based on ID prefix)")
        if not matching:
            raise ApiError(404, f"network {reference[:80]} not found")
        return matching[0]

    def choose_default_subnets(self, one: Network) -> None:
        """Give the default bridge what it lacks of its addresses. Raises ApiError."""
        wanted, wanted6 = default_bridge.wanted_subnet(self._settings), self._settings.fixed_cidr_v6
        if wanted:
            one.document.update(Subnet=str(wanted[0]), Gateway=wanted[1])
        elif not one.document["Subnet"]:
            self.choose_subnet(one)
        if one.document["EnableIPv6"] and wanted6:
            one.document.update(Subnet6=str(wanted6), Gateway6=wanted6.gateway)
        elif one.document["EnableIPv6"] and not one.document["Subnet6"]:
            self.choose_subnet6(one)

    def refuse_overlap(self, wanted: "Subnet") -> None:
        """Raise ApiError if a network has addresses of `wanted`."""
        if any(map(wanted.overlaps, self._subnets())):
            raise ApiError(403, "invalid pool request: Pool overlaps with other one on this address space")

    def _subnets(self) -> "list[Subnet]":
        """Return all that are in use, of IPv4 and IPv6."""
        found = [one.subnet for one in self if one.document["Subnet"]]
        return found + [one.subnet6 for one in self if one.subnet6]

    def choose_subnet6(self, one: Network) -> None:
        """Give the network addresses of IPv6, which nobody has chosen for it."""
        seed = next(known.id for known in self if known.name == "none")
        chosen = subnet.choose_local(seed[:_DIGITS_OF_SEED], self._subnets())
        one.document.update(Subnet6=str(chosen), Gateway6=chosen.gateway)

    def choose_subnet(self, one: Network) -> None:
        """Give the network addresses, which nobody has chosen for it. Raises ApiError."""
        routes = whole_file.read("/proc/net/route").decode()
        chosen = subnet.choose(routes, self._subnets(), one.bridge_name, self._settings.pools())
        one.document.update(Subnet=str(chosen), Gateway=chosen.gateway)
