"""pyrun start"""

from pyrun.container.state import load
from pyrun.launch.start import start

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", id_: str) -> None:
    start(load(settings.root, id_))
