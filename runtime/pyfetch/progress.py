"""Progress for the user: docker's own lines on standard error, bars on a terminal, or JSON events.

Scripts search for docker's lines (`Pull complete`, `Digest:`, `Status:`), so these are word for word docker's. Standard
output is for the result.
"""

import sys
import time
from _thread import allocate_lock  # threading.Lock, without importing threading

from foundation.encode import encode
from foundation.errors import one_line
from foundation.linux import os
from foundation.linux.whole_file import to_standard_error
from foundation.sizes import human
from pyfetch.image.digest import short
from pyfetch.image.manifest import Descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.unpack.unpack import Reader

_MOVING = ("Downloading", "Extracting", "Pushing")  # states with a position, which plain lines leave out
_INTERVAL = 0.1  # seconds between two redraws
_BAR_COLUMNS = 110  # docker draws a bar on terminals wider than this


class Progress:
    """Prints plain lines; the subclasses show layers in other ways. All are thread-safe."""

    def __init__(self, write: "Callable[[str], object]" = to_standard_error) -> None:
        self._lock = allocate_lock()
        self._warned: set[str] = set()
        self._write = write

    def line(self, text: str) -> None:
        """Print a line, word for word as docker prints it."""
        with self._lock:
            self._write(f"{text}\n")

    def missing(self, name: str) -> None:
        """Tell that the store does not have the image `name`, so that it is fetched."""
        self.line(f"Unable to find image '{name}' locally")

    def pulling(self, version: str, repository: str) -> None:
        """Tell what is fetched: a tag or a name with a digest, of a repository."""
        self.line(f"{version}: Pulling from {repository}")

    def pushed(self, version: str, manifest: Descriptor) -> None:
        """Tell that the registry has an image under the name `version`, a tag or its digest."""
        self.line(f"{version}: digest: {manifest.digest} size: {manifest.size}")

    def warn(self, text: str) -> None:
        """Print a warning, but the same text only once."""
        text = one_line(text)
        with self._lock:
            if text in self._warned:
                return
            self._warned.add(text)
        self.note(f"WARNING: {text}")

    def note(self, text: str) -> None:
        """Print a line that docker does not have, such as a retry."""
        self.line(one_line(text))

    def layer(self, layer: Descriptor, state: str, position: int = 0) -> None:
        """Show the state of `layer`, and in a moving state its position in bytes."""
        if state not in _MOVING:
            self.line(f"{short(layer.digest)}: {state}")

    def extracting(self, layer: Descriptor, reader: "Reader") -> "Reader":
        """Return a reader that shows what is read from `reader` as unpacked."""
        return _Watched(self, layer, reader)

    def finish(self) -> None:
        """End the display, so that others can print."""


class Quiet(Progress):
    """Prints only warnings and notes."""

    def line(self, text: str) -> None:
        pass

    def note(self, text: str) -> None:
        super().line(one_line(text))


class JsonEvents(Progress):
    """One object a line, in the shape of docker's API: status, id, progress and its detail; `write` gets each line."""

    def line(self, text: str) -> None:
        self.event({"status": text})

    def layer(self, layer: Descriptor, state: str, position: int = 0) -> None:
        event: dict[str, object] = {"status": state, "progressDetail": {}, "id": short(layer.digest)}
        if state in _MOVING:
            event["progressDetail"] = {"current": position, "total": layer.size}
            event["progress"] = f"{_bar(position, layer.size)}{human(position):>8}/{human(layer.size)}"
        self.event(event)

    def event(self, event: "dict[str, object]") -> None:
        with self._lock:
            self._write(encode(event) + "\n")


class Terminal(Progress):
    """Draws a line per layer on `terminal`, and redraws it in place a few times a second."""

    def __init__(self, write: "Callable[[str], object]" = to_standard_error, terminal: int = 2) -> None:
        super().__init__(write)
        self._terminal = terminal
        self._layers: dict[str, _Line] = {}
        self._drawn = 0  # lines on the screen that are ours
        self._next = 0.0

    def line(self, text: str) -> None:
        with self._lock:
            self._erase()
            self._write(f"{text}\n")
            self._draw()

    def layer(self, layer: Descriptor, state: str, position: int = 0) -> None:
        with self._lock:
            line = self._layers.setdefault(layer.digest, _Line())
            line.update(layer, state, position)
            if state not in _MOVING or time.monotonic() >= self._next:
                self._erase()
                self._draw()
                self._next = time.monotonic() + _INTERVAL

    def finish(self) -> None:
        with self._lock:
            self._layers, self._drawn = {}, 0

    def _erase(self) -> None:
        if self._drawn:
            self._write(f"\x1b[{self._drawn}A\x1b[J")
            self._drawn = 0

    def _draw(self) -> None:
        columns, rows = _size(self._terminal)
        # Lines that have scrolled off cannot be redrawn, so the oldest, which are finished, are left out.
        lines = [line.text(columns) for line in self._layers.values()][-(rows - 2) :]
        self._write("".join(f"{line}\n" for line in lines))
        self._drawn = len(lines)


class _Line:
    def __init__(self) -> None:
        self._state = ""
        self._position = 0
        self._since = time.monotonic()
        self._from = 0

    def update(self, layer: Descriptor, state: str, position: int) -> None:
        self._layer = layer
        if state == "Extracting" and self._state in ("Downloading", "Verifying Checksum"):
            return  # both run at once: show the download, which unpacking waits for
        if state != self._state:
            self._since, self._from = time.monotonic(), position
        self._state, self._position = state, position

    def text(self, columns: int) -> str:
        text = f"{short(self._layer.digest)}: {self._state}"
        if self._state not in _MOVING:
            return text
        total = max(self._layer.size, 1)
        if columns > _BAR_COLUMNS:
            text += f" {_bar(self._position, total)}"
        text += f" {human(self._position)}/{human(self._layer.size)}"
        rate = (self._position - self._from) / max(time.monotonic() - self._since, 0.001)
        if rate > 0:
            left = int((total - self._position) / rate)
            text += f"  {human(rate)}/s  {left // 60}:{left % 60:02d} left"
        return text[: columns - 1]


def _bar(position: int, total: int) -> str:
    """Return docker's bar, with a space behind it."""
    done = min(50 * position // max(total, 1), 50)
    return f"[{'=' * done}>{' ' * (50 - done)}] "


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
    """Return the display for the options and for standard error, which may be a terminal."""
    if as_json:
        return JsonEvents()
    if quiet:
        return Quiet()
    is_terminal = sys.stderr is not None and os.isatty(2) and os.environment.get("TERM") != "dumb"
    return Terminal() if is_terminal else Progress()


def _size(terminal: int) -> "tuple[int, int]":
    try:
        size = os.get_terminal_size(terminal)
    except OSError:
        return 80, 24
    return (size.columns or 80), max(size.lines, 4)
