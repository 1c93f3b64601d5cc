"""The holder of the master end of a process's terminal: the server at a console socket, or this command."""

from foundation.linux import os
from pyrun.errors import UsageError
from pyrun.stdio import sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Process


class Console:
    """In the foreground, the process gets a terminal with the size of the caller's. If our standard output is not a
    terminal, the process's terminal does not turn LF into CR LF (ONLCR, termios(3)), so that a pipe or file gets the
    program's own lines. Both are set in `process`, to take effect before the program starts: one that asks for the size
    at once would otherwise see 0x0.

    With `as_it_is`, our caller is an engine in this process, which takes the master and changes nothing.

    Raises UsageError, with runc's words, if a detached process would have a terminal without a console socket, or if
    the console socket would not be used.
    """

    def __init__(self, process: "Process", detach: bool, socket: str, as_it_is: bool = False) -> None:
        wanted = process.terminal and not as_it_is
        if wanted and detach and not socket:
            raise UsageError("cannot allocate tty if pyrun will detach without setting console socket")
        if socket and not (wanted and detach):
            raise UsageError("cannot use console socket if pyrun will not detach or allocate tty")
        self._socket = socket
        if wanted and not detach:
            from pyrun.stdio.terminal import own_size  # loads termios

            process.console_size = own_size() or process.console_size
            process.plain_lines = not os.isatty(1)

    def take(self, masters: "list[int]") -> int:
        """Take over the process's `masters`: [master], or [] if it has no terminal.

        Returns the one that this command must relay and close. -1: there is none, or the console socket has got it.
        """
        for master in masters:
            if not self._socket:
                return master
            sockets.send_terminal(self._socket, master)
            os.close(master)
        return -1
