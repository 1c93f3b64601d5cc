"""A forked child that does one piece of work, reports what fails, and ends without returning to its parent's code."""

from foundation import interrupts
from foundation.errors import reason
from foundation.linux import os
from pyrun.stub.channel import Channel

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import NoReturn


class Child:
    """A context manager: the child calls `work` with a channel to us, and the block gets our end of that.

    If `work` raises, the channel's hear() raises an Error with the reason. At the end of the block our end is closed
    and the child collected.
    """

    def __init__(self, work: "Callable[[Channel], object]") -> None:
        self.channel, theirs = Channel.pair()

        def work_alone() -> None:
            self.channel.close()  # so that the child sees the end of file when we close ours
            work(theirs)

        self.pid = fork(work_alone, theirs.fail)
        theirs.close()

    def __enter__(self) -> Channel:
        return self.channel

    def __exit__(self, *error: object) -> None:
        self.end()

    def end(self) -> None:
        """Close our end of the channel, and wait until the child has ended."""
        self.channel.close()
        os.waitpid(self.pid, 0)


def fork(work: "Callable[[], object]", fail: "Callable[[str], object]") -> int:
    """Fork a child that does run(); return its pid to the parent, which must collect it."""
    mask = interrupts.hold()  # a child that is interrupted before it is in run() would undo its parent's work

    def work_interruptibly() -> None:
        interrupts.release(mask)
        work()

    child = os.fork()
    if child == 0:
        run(work_interruptibly, fail)
    interrupts.release(mask)
    return child


def run(work: "Callable[[], object]", fail: "Callable[[str], object]") -> "NoReturn":
    """Call `work` in a child that has just been made, call `fail` with the reason if it raises, and end the process."""
    status = 1
    try:
        work()
        status = 0
    except BaseException as error:
        fail(reason(error))
    finally:
        os._exit(status)
