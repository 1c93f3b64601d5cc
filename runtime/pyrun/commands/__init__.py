"""One module per verb."""

from pyrun import log
from pyrun.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def each(ids: "tuple[str, ...]", do: "Callable[[str], object]") -> int:
    """Call `do` with each of `ids` and return the exit code: one that fails is told, and the others are still done.

    A single one's error is raised: engines match its words.
    """
    if len(ids) == 1:
        do(ids[0])
        return 0
    status = 0
    for id_ in ids:
        try:
            do(id_)
        except (Error, OSError) as error:
            log.error(f"{id_}: {reason(error)}")
            status = 1
    return status
