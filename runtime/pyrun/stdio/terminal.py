"""The terminal of a process in the foreground: relaying bytes, its size, the mode of the caller's terminal."""

import _signal
import select
import termios
import tty
from fcntl import ioctl

from foundation.linux import os
from pyrun.config.document import ConsoleSize
from pyrun.config.node import Node
from pyrun.rootfs.console import TIOCSWINSZ
from pyrun.stdio.children import NOT_FORWARDED, collect, forward

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

# PIPE_BUF: if poll(2) reports POLLOUT, a pipe takes this much without blocking. A read of a terminal gives as much.
_CHUNK = 4096
_OUTPUT_MODES = 1  # index in what termios.tcgetattr() returns
# The kernel sends these for a fault of the process, and again whenever a handler returns to it.
_FAULTS = {_signal.SIGSEGV, _signal.SIGBUS, _signal.SIGFPE, _signal.SIGILL}
_BROKEN = select.POLLERR | select.POLLHUP | select.POLLNVAL


def relay(pid: int, master: int) -> int:
    """Relay between our standard streams and `master` until our child `pid` has ended; return its status.

    Meanwhile the caller's terminal is in raw mode: the container's terminal interprets what is typed, including ^C.
    If the caller's terminal is hung up, or our output has no reader any more, `master` is closed, which hangs up the
    container's terminal. Signals are forwarded to the child.
    """
    try:
        return _relay_in_raw_mode(pid, master)
    except termios.error as error:
        raise OSError(*error.args, "the caller's terminal") from error  # it is no OSError


def _relay_in_raw_mode(pid: int, master: int) -> int:
    own = _own_terminal()
    before = termios.tcgetattr(own) if own >= 0 else None
    wakeups, wakeup = os.pipe2(os.O_NONBLOCK | os.O_CLOEXEC)
    receive_signals(wakeup)
    try:
        if before:
            make_raw(own, before)
        _copy_size(own, master)
        return _relay(pid, master, own, wakeups)
    finally:
        if before:
            restore(own, before)


def make_raw(own: int, before: "list[Any]") -> None:
    """Set raw mode, but keep the output modes if our standard output is not this terminal.

    The container's terminal then sends lines without CR. If the reader of our output writes them to this terminal, as a
    pager does, this terminal must add the CR itself.
    """
    tty.setraw(own)
    if not os.isatty(1):
        raw = termios.tcgetattr(own)
        raw[_OUTPUT_MODES] = before[_OUTPUT_MODES]
        termios.tcsetattr(own, termios.TCSANOW, raw)


def own_size() -> "ConsoleSize | None":
    """Return the size of the caller's terminal, or None if there is no terminal or it has no size."""
    own = _own_terminal()
    if own < 0:
        return None
    width, height = os.get_terminal_size(own)
    return ConsoleSize(Node({"height": height, "width": width}, "terminal")) if height and width else None


def _own_terminal() -> int:
    """Return the caller's terminal, or -1: the first standard stream that is one, otherwise /dev/tty."""
    for fd in (2, 1, 0):
        if os.isatty(fd):
            return fd
    try:
        return os.open("/dev/tty", os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    except OSError:
        return -1  # ENXIO: no controlling terminal


def restore(own: int, before: "list[Any]") -> None:
    """Give the terminal the mode `before` again."""
    try:
        termios.tcsetattr(own, termios.TCSADRAIN, before)
    except termios.error:
        pass  # EIO: the terminal was hung up


def receive_signals(wakeup: int) -> None:
    """Let each signal write its number to `wakeup`, but for faults, and unblock all signals."""
    _signal.set_wakeup_fd(wakeup, warn_on_full_buffer=False)
    for number in _signal.valid_signals() - {_signal.SIGKILL, _signal.SIGSTOP} - _FAULTS:
        if number not in (32, 33):  # the C library uses these itself
            _signal.signal(number, lambda received, frame: None)
    _signal.pthread_sigmask(_signal.SIG_SETMASK, [])


def _copy_size(own: int, master: int) -> None:
    if own >= 0:
        ioctl(master, TIOCSWINSZ, ioctl(own, termios.TIOCGWINSZ, bytes(8)))


class _Flow:
    """Bytes in transit from one descriptor to another. It reads again only when everything is written.

    is_open     there may be more to read
    is_broken   the sink cannot be written to any more
    """

    def __init__(self, source: int, sink: int) -> None:
        self.source = source
        self.sink = sink
        self.held = b""
        self.is_open = True
        self.is_broken = False

    def wants(self) -> "tuple[int, int]":
        """Return (descriptor, POLLIN or POLLOUT), what the flow waits for."""
        return (self.sink, select.POLLOUT) if self.held else (self.source, select.POLLIN)

    def move(self) -> None:
        """Write the bytes that are held, or read some if there are none; never blocks for a pipe or terminal."""
        try:
            if self.held:
                self.held = self.held[os.write(self.sink, self.held) :]
            else:
                self.held = os.read(self.source, _CHUNK)
                self.is_open = bool(self.held)
        except BlockingIOError:
            return
        except OSError:  # EIO: no process has the terminal open, or it is hung up. EPIPE: the pipe has no reader
            self.is_broken = bool(self.held)
            self.close()

    def close(self) -> None:
        """Discard the bytes that are held and stop. The descriptors stay open."""
        self.is_open = False
        self.held = b""


def _relay(pid: int, master: int, own: int, wakeups: int) -> int:
    os.set_blocking(master, False)
    typed, shown = _Flow(0, master), _Flow(master, 1)
    # Watch our terminal for hang-up only if it is one of our standard streams: after nohup(1) it is not.
    seen = own if own <= 2 else -1
    status = None
    while True:
        flows = [flow for flow in ((typed, shown) if status is None else (shown,)) if flow.is_open]
        moved, hung_up = _move(flows, wakeups, seen, wait=status is None or bool(shown.held))
        if status is not None and not moved and not shown.held:
            return status  # all of its output is written, even to a slow reader
        if hung_up or shown.is_broken:
            typed.close()
            shown.close()
            os.close(master)
            master = seen = -1
            shown.is_broken = False
        for number in take(wakeups):
            if number == _signal.SIGWINCH:
                if master >= 0:
                    _copy_size(own, master)
            elif number not in NOT_FORWARDED:
                if status is not None:
                    return status  # a signal ends the wait for the reader of the rest
                forward(pid, number)
        if status is None:
            status = collect(pid)


def _move(flows: "list[_Flow]", wakeups: int, seen: int, wait: bool) -> "tuple[bool, bool]":
    """Move the flows that are ready. Return (whether one moved, whether `seen` is hung up).

    If `wait`, first wait until a flow is ready or a signal has come.
    """
    events = {wakeups: select.POLLIN}
    if seen >= 0:
        events[seen] = 0  # poll(2) always reports POLLHUP
    for flow in flows:
        descriptor, event = flow.wants()
        events[descriptor] = events.get(descriptor, 0) | event  # both flows may wait for the same descriptor
    waiting = select.poll()
    for descriptor, wanted in events.items():
        waiting.register(descriptor, wanted)
    ready = dict(waiting.poll(None if wait else 0))
    movable = [flow for flow in flows if ready.get(flow.wants()[0], 0) & (flow.wants()[1] | _BROKEN)]
    for flow in movable:
        flow.move()
    return bool(movable), bool(ready.get(seen, 0) & select.POLLHUP)


def take(wakeups: int) -> bytes:
    """Return the numbers of the signals that have come since the last call."""
    try:
        return os.read(wakeups, 4096)
    except BlockingIOError:
        return b""
