"""What a client of a build sees: lines in JSON events, each in a chunk of the response."""

import _socket
import codecs

from foundation.linux import os
from pyrund.http.response import JSON, encoded
from pyrund.launch.answer import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_RED, _PLAIN = "\033[91m", "\033[0m"  # what a RUN writes to its standard error is red


class Output:
    """The response on the connection `client`. If the client goes, the worker ends, and the daemon undoes the build."""

    def __init__(self, client: int, is_quiet: bool) -> None:
        self.client = client
        self._answer = Answer(client)
        self._is_quiet = is_quiet
        self._decoders = [codecs.getincrementaldecoder("utf-8")("replace") for _ in range(3)]
        self.has_begun = False

    def begin(self) -> None:
        self.has_begun = True
        self._answer.begin({"Content-Type": JSON}, closes=True)

    def line(self, text: str) -> None:
        if not self._is_quiet:
            self.event({"stream": text})

    def result(self, id_: str) -> None:
        """Tell the image's id, which is all that a quiet client wants."""
        self.event({"stream": f"{id_}\n"} if self._is_quiet else {"aux": {"ID": id_}})

    def event(self, event: "dict[str, Any]") -> None:
        self._answer.write(encoded(event).rstrip(b"\n") + b"\r\n")
        self._answer.flush()

    def json(self, text: str) -> None:
        """Send an event of a pull, which is JSON already."""
        if not self._is_quiet:
            self._answer.write(text.encode("utf-8", "replace"))
            self._answer.flush()

    def piece(self, stream: int, data: bytes) -> None:
        """Show what a RUN has written to its standard output (1) or error (2)."""
        text = self._decoders[stream].decode(data)
        if text:
            self.line(f"{_RED}{text}{_PLAIN}" if stream == 2 else text)

    def end(self) -> None:
        self._answer.end()

    def check(self) -> None:
        """End the worker if the client has gone."""
        socket = _socket.socket(fileno=self.client)
        try:
            is_gone = not socket.recv(1, _socket.MSG_PEEK | _socket.MSG_DONTWAIT)
        except BlockingIOError:
            is_gone = False
        except OSError:
            is_gone = True
        finally:
            socket.detach()
        if is_gone:
            os._exit(1)
