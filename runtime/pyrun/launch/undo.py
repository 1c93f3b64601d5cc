"""What must be undone when a later step fails."""

from pyrun import log
from pyrun.errors import Error, reason

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Undo:
    """A `with` block that undoes, last first, what was given to by(), unless it comes to keep()."""

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []

    def by(self, step: "Callable[[], object]") -> None:
        self._steps.append(step)

    def keep(self) -> None:
        self._steps.clear()

    def __enter__(self) -> "Undo":
        return self

    def __exit__(self, kind: object, error: object, traceback: "TracebackType | None") -> None:
        while self._steps:
            step = self._steps.pop()
            try:
                step()
            except (Error, OSError) as failure:
                log.debug(f"while undoing: {reason(failure)}")  # the first error is the one that the caller needs
