"""Names in a config.json that we never read: most of them are misspelt.

config.md#extensibility tells a runtime to ignore them, so only `validate` reports them.
"""

from foundation.errors import did_you_mean
from pyrun.config.node import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# Properties of other platforms, by the path of the object: config.md.
_OTHER_PLATFORMS = {
    "config.json: ": {"vm", "solaris", "windows", "zos", "freebsd"},
    "config.json: process.": {"commandLine"},
    "config.json: process.user.": {"username"},
}


class Watched(Node):
    """A Node that records the names that were read, and the nodes that were made from it."""

    def __init__(self, properties: "dict[str, Any]", path: str) -> None:
        super().__init__(properties, path)
        self.asked: set[str] = set()
        self.children: list[Watched] = []

    def has(self, name: str) -> bool:
        self.asked.add(name)
        return super().has(name)

    def _get(self, name: str, expected: type, default: "Any") -> "Any":
        self.asked.add(name)
        return super()._get(name, expected, default)

    def _child(self, properties: "dict[str, Any]", path: str) -> "Watched":
        child = Watched(properties, path)
        self.children.append(child)
        return child


def unknown_properties(node: Watched) -> "list[str]":
    """Return a warning for each name that was not read, in `node` and below."""
    found = []
    if node.asked:  # if nothing was read, it is passed on as a whole, or its names are free
        for name in node.properties.keys() - node.asked - _OTHER_PLATFORMS.get(node.path, set()):
            found.append(f"{node.path}{name}: is unknown and ignored{did_you_mean(name, node.asked)}")
    return sorted(found) + [one for child in node.children for one in unknown_properties(child)]
