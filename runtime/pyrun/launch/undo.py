"""Cleanup steps for the case that a later step fails."""

from foundation import interrupts
from foundation.errors import Error, reason
from pyrun import log

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType


class Undo:
    """A context manager that runs the steps given to add() in reverse order at its end, unless keep() was called.

    A step that raises Error or OSError does not stop the others. In the block, ^C or another signal that would end us
    raises KeyboardInterrupt once.
    """

    def __init__(self) -> None:
        self._steps: list[Callable[[], object]] = []
        self._last: Callable[[], object] | None = None

    def add(self, step: "Callable[[], object]") -> None:
        """Add a cleanup step; it runs before all earlier ones."""
        self._steps.append(step)

    def add_last(self, step: "Callable[[], object]") -> None:
        """Set the step that runs last, and only if all others succeeded: otherwise `delete --force` needs the state."""
        self._last = step

    def replace(self, step: "Callable[[], object]") -> None:
        """Replace all steps by `step`."""
        self._steps[:] = [step]
        self._last = None

    def keep(self) -> None:
        """Forget all steps, because the work has succeeded. Holds ^C and the like until the process ends."""
        interrupts.hold()  # an interruption after this would report a failure although everything stays
        self._steps.clear()
        self._last = None

    def __enter__(self) -> "Undo":
        interrupts.interrupt_once()
        return self

    def __exit__(self, kind: object, error: object, traceback: "TracebackType | None") -> None:
        done = [self._do(self._steps.pop()) for _ in range(len(self._steps))]
        if self._last and all(done):
            self._do(self._last)

    def _do(self, step: "Callable[[], object]") -> bool:
        try:
            step()
        except (Error, OSError) as failure:
            log.debug(f"while undoing: {reason(failure)}")  # only --debug: the caller needs the first error
            return False
        return True
