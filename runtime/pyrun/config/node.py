"""The JSON of config.json, of our own state and of annotations."""

from foundation import node
from pyrun.errors import ConfigError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from foundation.errors import Error


class Node(node.Node):
    """A JSON object whose errors are ConfigErrors."""

    raises: "type[Error]" = ConfigError

    if TYPE_CHECKING:

        def error(self, name: str, reason: str) -> ConfigError: ...
        def missing(self, name: str) -> ConfigError: ...
