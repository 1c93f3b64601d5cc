"""Who holds the master end of a process's terminal: a console socket, or this command in the foreground."""

import os

from pyrun.errors import UsageError
from pyrun.launch import sockets


class Console:
    """`master` is the terminal that is ours to attend to, -1 where there is none.

    Raises UsageError, with runc's words, for a terminal that nobody would hold and for a socket without a terminal.
    """

    def __init__(self, wanted: bool, detach: bool, socket: str) -> None:
        if wanted and detach and not socket:
            raise UsageError("cannot allocate tty if pyrun will detach without setting console socket")
        if socket and not (wanted and detach):
            raise UsageError("cannot use console socket if pyrun will not detach or allocate tty")
        self._socket = socket
        self.master = -1

    def take(self, masters: "list[int]") -> None:
        """Take [master] of the process's terminal, [] where it has none."""
        for master in masters:
            if self._socket:
                sockets.send_terminal(self._socket, master)
                os.close(master)
            else:
                self.master = master
