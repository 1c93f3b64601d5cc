"""pyrun state"""

from pyrun.container.state import load
from pyrun.spec.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", id_: str) -> None:
    print(encode(load(settings.root, id_).summary(), indent="  "))
