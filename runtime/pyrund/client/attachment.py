"""Our standard streams, connected with those of a container or an exec: bytes, the terminal, signals, detach keys."""

import _signal
import _socket
import select
import sys
import termios

from foundation.linux import os
from pyrun.stdio.children import NOT_FORWARDED
from pyrun.stdio.terminal import make_raw, receive_signals, restore, take
from pyrund.client.frames import Frames
from pyrund.errors import ApiError, Refused
from pyrund.streams.keys import DEFAULT, Scanner, parse

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from pyrund.client.connection import Connection

_READ = 32 << 10
_PIPE = 4096  # PIPE_BUF: if poll(2) reports POLLOUT, a pipe takes this much without blocking
_RESIZES, _PAUSE = 20, 50  # how often a size is told to a terminal that is not there yet; milliseconds between
_ENDING = (_signal.SIGINT, _signal.SIGTERM, _signal.SIGHUP, _signal.SIGQUIT)


class Attachment:
    """A context in which signals are received, and in which our terminal is raw if it is the container's.

    stream           the connection, which has become a stream
    is_terminal      the container has a terminal: bytes are not framed
    takes_input      our standard input is sent
    resize           tells the container's terminal a size (height, width); raises ApiError if it is not there yet
    signal           passes a signal on, or None: signals end this command
    """

    def __init__(
        self,
        stream: "Connection",
        is_terminal: bool,
        takes_input: bool,
        keys: str,
        resize: "Callable[[int, int], None]",
        signal: "Callable[[int], None] | None" = None,
    ) -> None:
        self._stream = stream
        self._fd = stream.socket.fileno()
        self._is_terminal = is_terminal
        self._takes_input = takes_input
        self._scanner = Scanner(_keys(keys, is_terminal))
        self._resize = resize
        self._signal = signal
        self._sizes_to_tell = _RESIZES if is_terminal else 0
        self._to_send = b""
        self._is_open = True  # more may come from the container
        self._has_left = False  # by the detach keys
        self._to_show: list[tuple[int, bytes]] = []
        self._frames = Frames(not is_terminal)
        self._wakeups = -1
        self._before: list[object] | None = None

    def __enter__(self) -> "Attachment":
        self._wakeups, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
        receive_signals(wakeup)
        os.set_blocking(self._fd, False)
        if self._is_terminal and self._takes_input and os.isatty(0):
            self._before = termios.tcgetattr(0)
            make_raw(0, self._before)
        return self

    def __exit__(self, kind: object, error: "BaseException | None", traceback: "TracebackType | None") -> None:
        if self._before is not None:
            restore(0, self._before)

    def run(self) -> bool:
        """Move bytes until the container's output ends; return False if the user has left it by the detach keys."""
        self._to_show += self._frames.pieces(self._stream.some() if self._stream.ahead else b"")
        while (self._is_open or self._to_show) and not self._has_left:
            ready = self._wait()
            for number in take(self._wakeups):
                self._receive(number)
            if self._sizes_to_tell:
                self._tell_size()
            for fd, event in ready.items():
                self._move(fd, event)
        return not self._has_left

    def wait_for(self, answer: "Connection") -> None:
        """Wait until some of an answer has come, and pass signals on: a program may close its output before it ends."""
        fd = answer.socket.fileno()
        waiting = select.poll()
        for one in (fd, self._wakeups):
            waiting.register(one, select.POLLIN)
        while not answer.ahead:
            if fd in dict(waiting.poll()):
                return
            for number in take(self._wakeups):
                self._receive(number)

    def _wait(self) -> "dict[int, int]":
        wanted = {self._wakeups: select.POLLIN}
        if self._to_show:
            wanted[self._to_show[0][0]] = select.POLLOUT
        elif self._is_open:
            wanted[self._fd] = select.POLLIN
        if self._to_send:
            wanted[self._fd] = wanted.get(self._fd, 0) | select.POLLOUT
        elif self._takes_input:
            wanted[0] = select.POLLIN
        waiting = select.poll()
        for fd, events in wanted.items():
            waiting.register(fd, events)
        return dict(waiting.poll(_PAUSE if self._sizes_to_tell else None))

    def _move(self, fd: int, event: int) -> None:
        if fd == 0:
            self._read_input()
        elif self._to_show and fd == self._to_show[0][0]:
            self._show()
        elif fd == self._fd:
            if event & select.POLLOUT and self._to_send:
                self._send()
            if event & ~select.POLLOUT and not self._to_show:
                self._read_output()

    # From the container.

    def _read_output(self) -> None:
        try:
            data = os.read(self._fd, _READ)
        except BlockingIOError:
            return
        except ConnectionResetError:
            data = b""
        self._is_open = bool(data)
        self._to_show += self._frames.pieces(data)

    def _show(self) -> None:
        fd, data = self._to_show[0]
        written = os.write(fd, data[:_PIPE])
        if written < len(data):
            self._to_show[0] = fd, data[written:]
        else:
            del self._to_show[0]

    # To the container.

    def _read_input(self) -> None:
        try:
            data = os.read(0, _READ)
        except OSError:  # EIO: the terminal is hung up; EBADF: it is closed
            data = b""
        if data:
            self._to_send, self._has_left = self._scanner.scan(data)
            return
        self._takes_input = False
        self._end_input()

    def _send(self) -> None:
        try:
            self._to_send = self._to_send[os.write(self._fd, self._to_send) :]
        except BlockingIOError:
            pass
        except OSError:  # EPIPE: the container does not read any more
            self._to_send, self._takes_input = b"", False

    def _end_input(self) -> None:
        try:
            self._stream.socket.shutdown(_socket.SHUT_WR)
        except OSError:
            pass  # the other side has closed it

    # Signals and the terminal's size.

    def _receive(self, number: int) -> None:
        if number == _signal.SIGWINCH:
            self._sizes_to_tell = 1 if self._is_terminal else 0
        elif self._signal and number not in NOT_FORWARDED and number != _signal.SIGPIPE:
            self._signal(number)
        elif number in _ENDING:
            raise KeyboardInterrupt(number)

    def _tell_size(self) -> None:
        self._sizes_to_tell -= 1
        height, width = size()
        try:
            if height and width:
                self._resize(height, width)
            self._sizes_to_tell = 0
        except ApiError:
            pass  # it is not there yet, or not any more


def size() -> "tuple[int, int]":
    """Return (height, width) of the terminal that is our standard output; zeroes if it is none."""
    try:
        width, height = os.get_terminal_size(1)
    except OSError:
        return 0, 0
    return height, width


def left() -> int:
    """Say that the user has left by the detach keys, in docker's words; return the exit status for that."""
    print("read escape sequence", file=sys.stderr)
    return 1


def check_terminal(wants_terminal: bool, takes_input: bool) -> None:
    """Raise Refused if a container's terminal cannot be connected with our standard input."""
    if wants_terminal and takes_input and not os.isatty(0):
        raise Refused("the input device is not a TTY")


def _keys(text: str, is_terminal: bool) -> bytes:
    """Return the detach keys as bytes; without a terminal there are none unless they are given."""
    if not text:
        return DEFAULT if is_terminal else b""
    try:
        return parse(text)
    except ApiError as error:
        raise Refused(f'invalid argument "{text}" for "--detach-keys" flag: {error}', 125) from None
