"""The JSON of strangers: manifests, configs, answers of servers. And the configuration files of users.

A name that stands twice in an object is refused (RFC 7493, 2.3), since two readers of the same bytes could choose
differently (CVE-2021-41190 is of that kind). Nearly everything is optional, so an absent value gives an empty one.
"""

from foundation.errors import Error
from foundation.node import Node, flaw_of, kind_of
from pyfetch.errors import UsageError, VerificationError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from typing_extensions import Self


class Document(Node):
    """A JSON object of an image or a server."""

    raises: "type[Error]" = VerificationError
    unique = True

    def string(self, name: str, default: "Any" = "") -> str:
        return super().string(name, default)

    def required_string(self, name: str) -> str:
        """Return the string `name`, which must be there and not empty."""
        value = self.string(name)
        if not value:
            raise self.missing(name)
        return value

    def object(self, name: str, default: "Any" = None) -> "Self":
        return super().object(name, default or {})

    def keys(self, name: str) -> "list[str]":
        """Return the names in the object `name`; their values may be anything."""
        names = list(self.object(name).properties)
        for key in names:
            flaw = flaw_of(key)
            if flaw:
                raise self.error(name, f"the name {key[:80]!r} {flaw}")
        return names

    def elements(self, name: str) -> "list[Self]":
        """Return the elements of an array, or a single value in its place, each as the property "" of an object."""
        value = self.properties[name] if self.has(name) else []
        values = value if isinstance(value, list) else [value]
        return [type(self)({"": one}, f"{self.path}{name}[{i}]") for i, one in enumerate(values)]

    def _shown(self, value: "Any") -> str:
        return kind_of(value)  # the value may be a password


class Configuration(Document):
    """A file of the user or the administrator, who can correct it: errors are UsageErrors."""

    raises = UsageError
    maximum = 4 << 20


def read_configuration(path: str) -> "bytes | None":
    """Return the content of the file, or None if there is none; raise UsageError if it is too large."""
    try:
        return Configuration.read(path, path)
    except (FileNotFoundError, NotADirectoryError):
        return None
