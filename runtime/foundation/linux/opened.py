"""Descriptors that are open for the length of a `with` block."""

from foundation.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType


class opened:
    """`with opened(os.open(...)) as fd:` closes `fd` at the end of the block, also after an exception."""

    def __init__(self, fd: int) -> None:
        self.fd = fd

    def __enter__(self) -> int:
        return self.fd

    def __exit__(self, kind: object, error: object, traceback: "TracebackType | None") -> None:
        os.close(self.fd)


def become(fd: int, other: int) -> None:
    """Make `fd` a descriptor of the file that `other` has open, and close `other`.

    `fd` keeps its number: if ^C came after close(2) and before a new number was noted, the old one would be closed
    twice.
    """
    os.dup2(other, fd, inheritable=False)
    os.close(other)


class Descriptors:
    """opened() for several: `add()` returns its argument, and the end of the block closes all that were added."""

    def __init__(self) -> None:
        self._added: list[int] = []

    def add(self, fd: int) -> int:
        """Take over `fd`, which close() closes, and return it."""
        self._added.append(fd)
        return fd

    def remove(self, fd: int) -> None:
        """Close `fd`, which was added, before the others."""
        self._added.remove(fd)
        os.close(fd)

    def close(self) -> None:
        """Close all that were added, the last first."""
        while self._added:
            os.close(self._added.pop())

    def __enter__(self) -> "Descriptors":
        return self

    def __exit__(self, kind: object, error: object, traceback: "TracebackType | None") -> None:
        self.close()


def open_all(paths: "list[str]", flags: int) -> "list[int]":
    """Open all of `paths`, close-on-exec; the caller closes them. Raises OSError if one fails; none is open then."""
    descriptors = Descriptors()
    try:
        return [descriptors.add(os.open(path, flags | os.O_CLOEXEC)) for path in paths]
    except OSError:
        descriptors.close()
        raise


def close_all_on_exec() -> None:
    """Make all descriptors but the standard streams close-on-exec, also those that our caller left open."""
    for name in os.listdir("/proc/self/fd"):
        try:
            if int(name) > 2:
                os.set_inheritable(int(name), False)
        except OSError:
            pass  # EBADF: this was the descriptor of the listing itself
