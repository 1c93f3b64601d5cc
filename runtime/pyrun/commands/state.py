"""pyrun state"""

from foundation.encode import encode
from pyrun.commands import each
from pyrun.container.state import load
from pyrun.container.summary import summary

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", *ids: str) -> int:
    return each(ids, lambda id_: print(encode(summary(load(settings.root, id_)), indent="  ")))
