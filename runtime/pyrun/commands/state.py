"""pyrun state"""

from pyrun.commands import each
from pyrun.container.state import load
from pyrun.spec.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", *ids: str) -> int:
    return each(ids, lambda id_: print(encode(load(settings.root, id_).summary(), indent="  ")))
