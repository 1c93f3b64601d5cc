"""pyrun resume"""

from foundation.errors import Error
from pyrun.commands import each
from pyrun.container.state import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", *ids: str) -> int:
    return each(ids, lambda id_: _resume(settings, id_))


def _resume(settings: "Settings", id_: str) -> None:
    container = load(settings.root, id_)
    if container.status() != "paused":
        raise Error("container not paused")
    container.cgroup().thaw()
