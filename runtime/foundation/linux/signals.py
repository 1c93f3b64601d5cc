"""A signal to many processes, none of which is taken for another one that has got its pid meanwhile."""

import _signal

from foundation.linux import os
from foundation.linux.opened import Descriptors

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

_AT_ONCE = 256  # descriptors, of the 1024 that a process usually may have


def send_to_all(listed: "Callable[[], Iterable[int]]", number: int, but: "Iterable[int]" = ()) -> "set[int]":
    """Send the signal `number` to the processes whose pids `listed` returns, `but` to some; return the pids.

    They are listed again when they are open (pidfd_open(2)). If a pid is in both lists, its process is the one that was
    opened; or that one has ended, and the signal reaches nobody. Raises PermissionError.
    """
    found = sorted(set(listed()).difference(but))
    for first in range(0, len(found), _AT_ONCE):
        with Descriptors() as descriptors:
            pidfds = {}
            for pid in found[first : first + _AT_ONCE]:
                try:
                    pidfds[pid] = descriptors.add(os.pidfd_open(pid))
                except ProcessLookupError:
                    pass  # it has ended
            for pid in pidfds.keys() & set(listed()):
                try:
                    _signal.pidfd_send_signal(pidfds[pid], number)
                except ProcessLookupError:
                    pass  # it has just ended
    return set(found)
