"""Who holds the master end of a process's terminal: a console socket, or this command in the foreground."""

import os

from pyrun.errors import UsageError
from pyrun.launch import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Process


class Console:
    """`master` is the terminal that is ours to attend to, -1 where there is none.

    A terminal in the foreground begins with the size of the caller's, which `process` is told: set when the program
    already runs, it could come too late for one that asks at once.

    Raises UsageError, with runc's words, for a terminal that nobody would hold and for a socket without a terminal.
    """

    def __init__(self, process: "Process", detach: bool, socket: str) -> None:
        wanted = process.terminal
        if wanted and detach and not socket:
            raise UsageError("cannot allocate tty if pyrun will detach without setting console socket")
        if socket and not (wanted and detach):
            raise UsageError("cannot use console socket if pyrun will not detach or allocate tty")
        self._socket = socket
        self.master = -1
        if wanted and not detach:
            from pyrun.launch.terminal import own_size  # loads termios

            process.console_size = own_size() or process.console_size

    def take(self, masters: "list[int]") -> None:
        """Take [master] of the process's terminal, [] where it has none."""
        for master in masters:
            if self._socket:
                sockets.send_terminal(self._socket, master)
                os.close(master)
            else:
                self.master = master
