"""The response of a worker that has the client's connection."""

from foundation.linux import os, whole_file
from pyrund.http import response

_BUFFER = 1 << 16


class Answer:
    """A response in chunks. If the client goes, the worker ends: nobody waits for what it does."""

    def __init__(self, client: int) -> None:
        os.set_blocking(client, True)
        self._client = client
        self._waiting: list[bytes] = []
        self._size = 0

    def begin(self, headers: "dict[str, str]") -> None:
        self._send(response.head(200, {**headers, "Transfer-Encoding": "chunked"}))

    def write(self, data: bytes) -> None:
        """Write a part of the body; small ones are sent together."""
        self._waiting.append(data)
        self._size += len(data)
        if self._size >= _BUFFER:
            self.flush()

    def flush(self) -> None:
        data, self._waiting, self._size = b"".join(self._waiting), [], 0
        if data:
            self._send(response.chunk(data))

    def end(self) -> None:
        self.flush()
        self._send(response.LAST_CHUNK)

    def _send(self, data: bytes) -> None:
        try:
            whole_file.write_all(self._client, data)
        except OSError:
            os._exit(1)
