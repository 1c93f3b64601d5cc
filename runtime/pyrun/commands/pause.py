"""pyrun pause"""

from foundation.errors import Error
from pyrun.commands import each
from pyrun.container.state import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", *ids: str) -> int:
    return each(ids, lambda id_: _pause(settings, id_))


def _pause(settings: "Settings", id_: str) -> None:
    container = load(settings.root, id_)
    if container.status() not in ("running", "created"):
        raise Error(f"container not running or created: {container.status()}")
    container.cgroup().freeze()
