"""One module per verb."""

from foundation.errors import Error, reason
from pyrun import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable


def each(ids: "tuple[str, ...]", do: "Callable[[str], object]") -> int:
    """Call `do` with each of `ids` and return the exit code: an error is printed, and the other ids are still handled.

    With a single id its error is raised, because engines match the message.
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
