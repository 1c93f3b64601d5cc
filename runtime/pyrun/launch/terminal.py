"""The terminal of a process in the foreground: bytes both ways, its size, the mode of the caller's own."""

import _signal
import os
import select
import termios
import tty
from fcntl import ioctl

from pyrun.launch.foreground import NOT_FORWARDED, collect, forward
from pyrun.rootfs.console import TIOCSWINSZ
from pyrun.spec.config import ConsoleSize
from pyrun.spec.node import Node

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# PIPE_BUF: what a pipe takes without making us wait when poll(2) says that it takes anything. A terminal gives as much.
_CHUNK = 4096
_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


def relay(pid: int, master: int) -> int:
    """Relay between our standard streams and `master` until our child `pid` has ended; return its status.

    The caller's terminal is in raw mode meanwhile: what is typed, ^C too, is for the container's terminal to interpret.
    When it is hung up, or nobody reads our output any more, the container's terminal is hung up as well.
    """
    own = _own_terminal()
    before = termios.tcgetattr(own) if own >= 0 else None
    wakeups, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    _receive_signals(wakeup)
    try:
        if before:
            tty.setraw(own)
        _copy_size(own, master)
        return _relay(pid, master, own, wakeups)
    finally:
        if before:
            _restore(own, before)


def own_size() -> "ConsoleSize | None":
    """Return the size of the caller's terminal, None where there is none or it has no size."""
    own = _own_terminal()
    if own < 0:
        return None
    width, height = os.get_terminal_size(own)
    return ConsoleSize(Node({"height": height, "width": width}, "terminal")) if height and width else None


def _own_terminal() -> int:
    """Return the caller's terminal, wherever it is left when streams are redirected, or -1."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return fd
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1  # ENXIO: no controlling terminal


def _restore(own: int, before: "list[Any]") -> None:
    try:
        termios.tcsetattr(own, termios.TCSADRAIN, before)
    except termios.error:
        pass  # EIO: it was hung up


def _receive_signals(wakeup: int) -> None:
    """Let each signal write its number to `wakeup`, and none of them be held any more."""
    _signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP}:
        if number not in (32, 33):  # the C library's own
            _signal.signal(number, lambda received, frame: None)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def _copy_size(own: int, master: int) -> None:
    if own >= 0:
        ioctl(master, TIOCSWINSZ, ioctl(own, termios.TIOCGWINSZ, bytes(8)))


class _Flow:
    """Bytes on their way from one descriptor to another: read only when the last ones are written, so never many.

    is_open     there may be more to come
    is_broken   the other end takes no more
    """

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.held = b""
        self.is_open = True
        self.is_broken = False

    def wants(self) -> "tuple[int, int]":
        """Return (descriptor, POLLIN or POLLOUT) of what it waits for."""
        return (self.sink, select.POLLOUT) if self.held else (self.source, select.POLLIN)

    def move(self) -> None:
        try:
            if self.held:
                self.held = self.held[os.write(self.sink, self.held) :]
            else:
                self.held = os.read(self.source, _CHUNK)
                self.is_open = bool(self.held)
        except BlockingIOError:
            return
        except OSError:  # EIO: no process has the terminal open any more, or it is hung up; EPIPE
            self.is_broken = bool(self.held)
            self.close()

    def close(self) -> None:
        self.is_open = False
        self.held = b""


def _relay(pid: int, master: int, own: int, wakeups: int) -> int:
    os.set_blocking(master, False)
    typed, shown = _Flow(0, master), _Flow(master, 1)
    seen = own if own <= 2 else -1  # whose end matters: not that of a terminal that nohup(1) has us do without
    status = None
    while True:
        flows = [flow for flow in ((typed, shown) if status is None else (shown,)) if flow.is_open]
        moved, hung_up = _move(flows, wakeups, seen, wait=status is None or bool(shown.held))
        if status is not None and not moved and not shown.held:
            return status  # all that it wrote is shown, however slowly that is read
        if hung_up or shown.is_broken:
            typed.close()
            shown.close()
            os.close(master)
            master = seen = -1
            shown.is_broken = False
        for number in _take(wakeups):
            if number == _signal.SIGWINCH:
                if master >= 0:
                    _copy_size(own, master)
            elif number not in NOT_FORWARDED:
                if status is not None:
                    return status  # the reader of what is left is not waited for any longer
                forward(pid, number)
        if status is None:
            status = collect(pid)


def _move(flows: "list[_Flow]", wakeups: int, seen: int, wait: bool) -> "tuple[bool, bool]":
    """Move the flows that can; `wait` until one can or a signal has come. Return (moved, whether `seen` is hung up)."""
    events = {wakeups: select.POLLIN}
    if seen >= 0:
        events[seen] = 0  # poll(2): POLLHUP is always told
    for flow in flows:
        descriptor, event = flow.wants()
        events[descriptor] = events.get(descriptor, 0) | event  # both may wait for the terminal
    waiting = select.poll()
    for descriptor, wanted in events.items():
        waiting.register(descriptor, wanted)
    ready = dict(waiting.poll(None if wait else 0))
    movable = [flow for flow in flows if ready.get(flow.wants()[0], 0) & (flow.wants()[1] | _BROKEN)]
    for flow in movable:
        flow.move()
    return bool(movable), bool(ready.get(seen, 0) & select.POLLHUP)


def _take(wakeups: int) -> bytes:
    try:
        return os.read(wakeups, 4096)
    except BlockingIOError:
        return b""
