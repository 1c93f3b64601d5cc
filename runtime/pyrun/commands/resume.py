"""pyrun resume"""

from pyrun.container.state import load
from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", id_: str) -> None:
    container = load(settings.root, id_)
    if container.status() != "paused":
        raise Error("container not paused")
    container.cgroup().thaw()
