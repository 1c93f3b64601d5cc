"""Progress that a worker writes to the client's connection."""

import time

from foundation.linux import os, whole_file
from pyfetch.progress import JsonEvents
from pyrund.http import response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.manifest import Descriptor

_INTERVAL = 0.1  # seconds between two events about the position in a layer


class Stream(JsonEvents):
    """Progress as chunks of the response, which begins with the first event: until then the status may be an error.

    `closes` is that of Answer.begin().
    """

    def __init__(self, client: int, closes: bool = False) -> None:
        super().__init__(self._send)
        self._client = client
        self._closes = closes
        self.has_begun = False
        self._shown: dict[str, tuple[str, float]] = {}  # digest -> (state, when it was shown)
        self._moved = 0.0  # when moved() was shown

    def missing(self, name: str) -> None:
        """Say nothing: the client has said so."""

    def note(self, text: str) -> None:
        """Tell of retries, but not before the image is found."""
        if self.has_begun:
            super().note(text)

    def pulling(self, version: str, repository: str) -> None:
        self.event({"status": f"Pulling from {repository}", "id": version})

    def pushed(self, version: str, manifest: "Descriptor") -> None:
        """Send the result in the form that programs read, too."""
        super().pushed(version, manifest)
        aux = {"Tag": version, "Digest": manifest.digest, "Size": manifest.size}
        self.event({"progressDetail": {}, "aux": aux})

    def failed(self, text: str) -> None:
        self.event({"errorDetail": {"message": text}, "error": text})

    def layer(self, layer: "Descriptor", state: str, position: int = 0) -> None:
        before, when = self._shown.get(layer.digest, ("", 0.0))
        if state == "Extracting" and before in ("Downloading", "Verifying Checksum"):
            return  # both run at once: show the download, which unpacking waits for
        if state == before and time.monotonic() < when + _INTERVAL:
            return
        self._shown[layer.digest] = state, time.monotonic()
        super().layer(layer, state, position)

    def moved(self, state: str, position: int, total: "int | None") -> None:
        """Show the progress of something that is not a layer; `total` is None if nobody knows it."""
        if position == total or time.monotonic() >= self._moved + _INTERVAL:
            self._moved = time.monotonic()
            detail = {"current": position, "total": -1 if total is None else total}
            self.event({"status": state, "progressDetail": detail})

    def end(self) -> None:
        self._write_all(response.LAST_CHUNK)

    def _send(self, text: str) -> None:
        if not self.has_begun:
            self.has_begun = True
            headers = {"Content-Type": response.JSON, "Transfer-Encoding": "chunked"}
            self._write_all(response.head(200, headers, self._closes))
        self._write_all(response.chunk(text.encode("utf-8", "replace")))

    def _write_all(self, data: bytes) -> None:
        try:
            whole_file.write_all(self._client, data)
        except OSError:
            os._exit(1)  # the client has gone; what was transferred is kept for the next time
