"""What the user sees: docker's own lines on standard error, bars on a terminal, or events in JSON.

Scripts look for docker's lines (`Pull complete`, `Digest:`, `Status:`), so they are kept to the letter. Standard output
belongs to the result.
"""

import os
import sys
import time
from _thread import allocate_lock  # threading.Lock without its module

from pyfetch.digest import short
from pyfetch.document import to_json
from pyfetch.errors import printable
from pyfetch.manifest import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.unpack import Reader

_MOVING = ("Downloading", "Extracting")  # states with a bar, and nothing to say where there is no terminal
_INTERVAL = 0.1  # seconds between two pictures
_BAR_COLUMNS = 110  # docker draws a bar on terminals wider than this
_UNITS = ("B", "kB", "MB", "GB", "TB")


class Progress:
    """Thread-safe. This one prints plain lines; the others below differ in how they show layers."""

    def __init__(self) -> None:
        self._lock = allocate_lock()
        self._warned: set[str] = set()

    def line(self, text: str) -> None:
        with self._lock:
            self._print(f"{text}\n")

    def warn(self, text: str) -> None:
        """Say something once, however often it occurs."""
        text = printable(text)
        with self._lock:
            if text in self._warned:
                return
            self._warned.add(text)
        self.note(f"WARNING: {text}")

    def note(self, text: str) -> None:
        """Say what is no docker line: retries, warnings."""
        self.line(printable(text))

    def layer(self, layer: Descriptor, state: str, position: int = 0) -> None:
        """Tell that `layer` is in `state` now; a moving state also says how far it has come."""
        if state not in _MOVING:
            self.line(f"{short(layer.digest)}: {state}")

    def extracting(self, layer: Descriptor, reader: "Reader") -> "Reader":
        """Return `reader`, watched: what is read is what has been unpacked."""
        return _Watched(self, layer, reader)

    def finish(self) -> None:
        """Leave the terminal as it should be for whoever prints next."""

    def _print(self, text: str) -> None:
        try:
            os.write(2, text.encode("utf-8", "replace"))
        except OSError:
            pass  # nobody is listening, which is no reason to stop


class Quiet(Progress):
    """Only what the user must know."""

    def line(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        super().line(printable(text))


class JsonEvents(Progress):
    """One object per line, in the shape of docker's API: status, id, progressDetail."""

    def line(self, text: str) -> None:
        self._event({"status": text})

    def layer(self, layer: Descriptor, state: str, position: int = 0) -> None:
        event: dict[str, object] = {"status": state, "id": short(layer.digest)}
        if state in _MOVING:
            event["progressDetail"] = {"current": position, "total": layer.size}
        self._event(event)

    def _event(self, event: "dict[str, object]") -> None:
        with self._lock:
            self._print(to_json(event) + "\n")


class Terminal(Progress):
    """A line per layer, redrawn in place, a few times a second."""

    def __init__(self) -> None:
        super().__init__()
        self._layers: dict[str, _Line] = {}
        self._drawn = 0  # lines on the screen that are ours
        self._next = 0.0

    def line(self, text: str) -> None:
        with self._lock:
            self._erase()
            self._print(f"{text}\n")
            self._draw()

    def layer(self, layer: Descriptor, state: str, position: int = 0) -> None:
        with self._lock:
            line = self._layers.setdefault(layer.digest, _Line(layer))
            line.update(state, position)
            if state not in _MOVING or time.monotonic() >= self._next:
                self._erase()
                self._draw()
                self._next = time.monotonic() + _INTERVAL

    def finish(self) -> None:
        with self._lock:
            self._layers, self._drawn = {}, 0

    def _erase(self) -> None:
        if self._drawn:
            self._print(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        columns, rows = _size()
        # More lines than the screen has cannot be redrawn: the oldest are left out, which are the finished ones.
        lines = [line.text(columns) for line in self._layers.values()][-(rows - 2) :]
        self._print("".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)


class _Line:
    def __init__(self, layer: Descriptor) -> None:
        self._layer = layer
        self._state = ""
        self._position = 0
        self._since = time.monotonic()
        self._from = 0

    def update(self, state: str, position: int) -> None:
        if state == "Extracting" and self._state in ("Downloading", "Verifying Checksum"):
            return  # both go on at the same time: shown is the one that the other waits for
        if state != self._state:
            self._since, self._from = time.monotonic(), position
        self._state, self._position = state, position

    def text(self, columns: int) -> str:
        text = f"{short(self._layer.digest)}: {self._state}"
        if self._state not in _MOVING:
            return text
        total = max(self._layer.size, 1)
        if columns > _BAR_COLUMNS:
            done = min(50 * self._position // total, 50)
            text += f" [{'=' * max(done - 1, 0)}{'>' if done < 50 else '='}{' ' * (49 - done)}]"
        text += f"  {human(self._position)}/{human(self._layer.size)}"
        rate = (self._position - self._from) / max(time.monotonic() - self._since, 0.001)
        if rate > 0:
            left = int((total - self._position) / rate)
            text += f"  {human(rate)}/s  {left // 60}:{left % 60:02d} left"
        return text[: columns - 1]


class _Watched:
    def __init__(self, progress: Progress, layer: Descriptor, reader: "Reader") -> None:
        self._progress = progress
        self._layer = layer
        self._reader = reader
        self._position = 0

    def read(self, size: int) -> bytes:
        data = self._reader.read(size)
        self._position += len(data)
        self._progress.layer(self._layer, "Extracting", self._position)
        return data

    def settle(self) -> None:
        self._reader.settle()

    def close(self) -> None:
        self._reader.close()


def open_progress(quiet: bool, as_json: bool) -> Progress:
    if as_json:
        return JsonEvents()
    if quiet:
        return Quiet()
    return Terminal() if sys.stderr is not None and os.isatty(2) and os.environ.get("TERM") != "dumb" else Progress()


def human(size: float) -> str:
    """Return a size as docker prints it: decimal units, four digits."""
    for unit in _UNITS:
        if size < 1000 or unit == _UNITS[-1]:
            break
        size /= 1000
    return f"{size:.4g}{unit}"


def _size() -> "tuple[int, int]":
    try:
        size = os.get_terminal_size(2)
    except OSError:
        return 80, 24
    return (size.columns or 80), max(size.lines, 4)
