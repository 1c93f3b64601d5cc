"""The ends of a container's streams."""

from foundation.linux import os


class Ends:
    """Pipes, or a terminal.

    theirs   the container's standard streams: [stdin, stdout, stderr], or none if it has a terminal
    names    what `ours` are: "stdin", "stdout", "stderr", or "terminal"
    ours     the engine's
    kept     those of `ours` that the monitor keeps for the next engine. stdin only if it is to stay open: the program
             would otherwise never see its end
    """

    def __init__(self, has_terminal: bool, has_stdin: bool, keeps_stdin: bool) -> None:
        self.theirs: list[int] = []
        self.names: list[str] = []
        self.ours: list[int] = []
        self.kept: list[int] = []
        if has_terminal:
            return
        if has_stdin:
            reader, writer = os.pipe2(os.O_CLOEXEC)
            self.theirs.append(reader)
        else:
            self.theirs.append(os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC))
        for name in ("stdout", "stderr"):
            ours, theirs = os.pipe2(os.O_CLOEXEC)
            self.theirs.append(theirs)
            self._add(name, ours, True)
        if has_stdin:
            self._add("stdin", writer, keeps_stdin)

    def take_terminal(self, master: int) -> int:
        """Take the master end of the terminal, if there is one (-1 otherwise), and return it."""
        if master >= 0:
            self._add("terminal", master, True)
        return master

    def _add(self, name: str, fd: int, is_kept: bool) -> None:
        self.names.append(name)
        self.ours.append(fd)
        if is_kept:
            self.kept.append(fd)


def kept_names(has_terminal: bool, has_stdin: bool, keeps_stdin: bool) -> "list[str]":
    """Return the names of what the monitor keeps, in its order."""
    if has_terminal:
        return ["terminal"]
    return ["stdout", "stderr", *(["stdin"] if has_stdin and keeps_stdin else [])]
