"""The response of a worker that has the client's connection."""

from foundation.linux import os, whole_file
from pyrund.http import response

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_BUFFER = 1 << 16


class Answer:
    """A response, usually in chunks. If the client goes, the worker ends: nobody waits for what it does."""

    def __init__(self, client: int) -> None:
        os.set_blocking(client, True)
        self._client = client
        self._waiting: list[bytes] = []
        self._size = 0

    def begin(self, headers: "dict[str, str]", closes: bool = False) -> None:
        """Begin chunks. `closes`: the connection ends after the response, as after Connection.stream_body()."""
        self.send(response.head(200, {**headers, "Transfer-Encoding": "chunked"}, closes))

    def write(self, data: bytes) -> None:
        """Write a part of the body; small ones are sent together."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        data, self._waiting, self._size = b"".join(self._waiting), [], 0
        if data:
            self.send(response.chunk(data))

    def end(self) -> None:
        self.flush()
        self.send(response.LAST_CHUNK)

    def send(self, data: bytes) -> None:
        """Send bytes as they are."""
        try:
            whole_file.write_all(self._client, data)
        except OSError:
            os._exit(1)


def send_json(client: int, value: "Any") -> None:
    """Answer with `value`, which may be larger than a message to the daemon."""
    body = response.encoded(value)
    headers = {"Content-Type": response.JSON, "Content-Length": str(len(body))}
    Answer(client).send(response.head(200, headers) + body)
