"""All containers, and how a client names one: its id, a unique beginning of that, or its name."""

from pyrund.errors import ApiError
from pyrund.model.container import Container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_SHORT = 12  # digits of an id that people read


class Containers:
    def __init__(self) -> None:
        self._by_id: dict[str, Container] = {}
        self._by_name: dict[str, Container] = {}

    def __iter__(self) -> "Iterator[Container]":
        """Return all, the newest first."""
        return iter(sorted(self._by_id.values(), key=lambda one: str(one.document["Created"]), reverse=True))

    def add(self, container: Container) -> None:
        self._by_id[container.id] = container
        self._by_name[container.name] = container

    def remove(self, container: Container) -> None:
        self._by_id.pop(container.id, None)
        self._by_name.pop(container.name, None)

    def rename(self, container: Container, name: str) -> None:
        del self._by_name[container.name]
        container.document["Name"] = name
        self._by_name[name] = container

    def get(self, id_: str) -> "Container | None":
        return self._by_id.get(id_)

    def refuse_name(self, name: str) -> None:
        """Raise ApiError if a container has the name."""
        other = self._by_name.get(name)
        if other:
            raise ApiError(
                409,
                f'Conflict. The container name "/{name}" is already in use by container "{other.id}". '
                "You have to remove (or rename) that container to be able to reuse that name.",
            )

    def find(self, reference: str) -> Container:
        """Return the container that `reference` names. Raises ApiError, with docker's words."""
        name = reference[1:] if reference[:1] == "/" else reference
        found = self._by_id.get(reference) or self._by_name.get(name) or self._linked(name)
        if found:
            return found
        matching = [one for id_, one in self._by_id.items() if reference and id_.startswith(reference)]
        if len(matching) > 1:
            raise ApiError(400, f"multiple IDs found with provided prefix: {reference}")
        if not matching:
            raise ApiError(404, f"No such container: {reference}")
        return matching[0]

    def _linked(self, name: str) -> "Container | None":
        """Return the container that another one knows by an alias, "web/db"."""
        parent, _, alias = name.partition("/")
        linking = self._by_name.get(parent)
        return self._by_id.get(linking.links.get(alias, "")) if linking else None

    def aliases(self) -> "dict[str, list[str]]":
        """Return the names that containers have for others, "/web/db", by the ids of these."""
        found: dict[str, list[str]] = {}
        for one in self._by_id.values():
            for alias, id_ in one.links.items():
                found.setdefault(id_, []).append(f"/{one.name}/{alias}")
        return found

    def links(self, container: Container) -> "list[str]":
        """Return the links of the container as inspect shows them, "/db:/web/data"."""
        known = {alias: self._by_id.get(id_) for alias, id_ in container.links.items()}
        return sorted(f"/{other.name}:/{container.name}/{alias}" for alias, other in known.items() if other)


def short(id_: str) -> str:
    return id_[:_SHORT]
