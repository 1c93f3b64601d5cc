"""The names in networks: which containers have them, and what their addresses are."""

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    Json = dict[str, Any]


class Place:
    """A container's place in a network: by which names others find it there, and where."""

    def __init__(self, names: "list[str]", addresses: "list[str]") -> None:
        self.names = names
        self.addresses = addresses


class Names:
    """All places, {id of a network: {id of a container: its place}}."""

    def __init__(self) -> None:
        self._places: dict[str, dict[str, Place]] = {}
        self._turn = 0

    def put(self, network: str, container: str, names: "list[str]", addresses: "list[str]") -> None:
        self._places.setdefault(network, {})[container] = Place([name.lower() for name in names], addresses)

    def remove(self, container: str) -> None:
        """Forget the container's places in all networks."""
        for network in list(self._places):
            self._places[network].pop(container, None)
            if not self._places[network]:
                del self._places[network]

    def addresses(self, name: str, networks: "Json") -> "list[str]":
        """Return the addresses of `name` in `networks`, {id: (the network's name, {alias: name})}.

        If there are several, each one comes first in its turn.
        """
        found: list[str] = []
        for id_, (network, links) in networks.items():
            bare = name[: -len(network) - 1] if name.endswith(f".{network.lower()}") else name
            wanted = {name, bare, links.get(bare, bare).lower()}
            places = self._places.get(id_, {}).values()
            found += [address for one in places if wanted & set(one.names) for address in one.addresses]
        found = list(dict.fromkeys(found))
        self._turn += 1
        first = self._turn % len(found) if found else 0
        return found[first:] + found[:first]

    def name(self, address: str, networks: "Json") -> str:
        """Return the full name of what has `address`, "" if it is nobody in `networks`."""
        for id_, (network, _) in networks.items():
            for one in self._places.get(id_, {}).values():
                if address in one.addresses:
                    return f"{one.names[0]}.{network}"
        return ""
