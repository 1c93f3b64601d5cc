"""A container that outlives the command that makes it, perhaps with a monitor that records how it ends."""

from pyrun.launch.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrun.container.state import Container


def leave_behind(make: "Callable[[Undo], Container]", monitored: bool) -> int:
    """Call `make`, which gives `undo` the steps that remove its container if it or this fails; return the exit status.

    If `monitored`, a child calls it, and then becomes the container's monitor; this process waits for that.
    """
    if not monitored:
        with Undo() as undo:
            make(undo)
            undo.keep()
        return 0
    from pyrun.stub.monitor import split_off  # few callers want a monitor

    monitor = split_off()
    if monitor.status is not None:
        return monitor.status
    with Undo() as undo:
        monitor.take_over(make(undo))
