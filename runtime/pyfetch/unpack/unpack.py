"""Unpacks the blob of a layer, with three things at once:

    reader (network or disk) -> Inflater's thread: decompress, hash -> this thread: tar, files

zlib, hashlib and system calls release the interpreter's lock, so the threads run in parallel. The result is valid
only when `unpack` returns: then the blob's digest and the archive's diffID are verified. Until then the caller keeps
it under a temporary name.
"""

import hashlib
import threading
from collections import deque

from foundation.errors import Error
from pyfetch.errors import VerificationError
from pyfetch.unpack.compression import decompressed
from pyfetch.unpack.layer import Applier
from pyfetch.unpack.limits import Limits, check_ratio
from pyfetch.unpack.tar import Archive, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Reader(Protocol):
        """A blob that verifies itself: at its end `read` raises an error unless size and digest are right.

        `settle` goes to the end at once, and raises the same.
        """

        def read(self, size: int) -> bytes: ...
        def settle(self) -> None: ...
        def close(self) -> None: ...


_INPUT_SIZE = 128 << 10
_WAITING = 8 << 20  # bytes that may wait between the two threads


def unpack(
    reader: "Reader",
    diff_id: str,
    root: int,
    limits: Limits,
    *,
    single: bool,
    lower: bool,
    warn: "Callable[[str], None]",
) -> None:
    """Apply the layer that `reader` gives to the directory `root`, and check that it is the archive `diff_id`."""
    inflater = Inflater(reader, diff_id.partition(":")[0])
    try:
        stream = Stream(inflater.chunks())
        Applier(root, limits, single, warn, lower).apply(Archive(stream))
        stream.drain()
    except Error:
        inflater.stop()
        reader.settle()  # a malformed archive may be due to wrong bytes, which is then the error
        raise
    finally:
        inflater.stop()
    if inflater.digest() != diff_id:
        raise VerificationError(f"a layer unpacks to {inflater.digest()}, but the image's config says {diff_id}")


class Inflater:
    """Decompresses and hashes in a thread of its own; `chunks` yields the result, and raises errors."""

    def __init__(self, reader: "Reader", algorithm: str) -> None:
        self._reader = reader
        self._algorithm = algorithm
        self._hash = hashlib.new(algorithm)
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._taken = 0
        self._done = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def digest(self) -> str:
        """Return the digest of what has been decompressed, complete once `chunks` has ended."""
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def stop(self) -> None:
        """Stop the thread, even before the end of the blob."""
        with self._changed:
            self._done = True
            self._changed.notify_all()
        self._thread.join()

    def chunks(self) -> "Iterator[bytes]":
        """Yield the decompressed bytes; raise the error of the reader or of the decompression."""
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._chunks or self._done)
                if not self._chunks:
                    break
                chunk = self._chunks.popleft()
                self._waiting -= len(chunk)
                self._changed.notify_all()
            yield chunk
        if self._error is not None:
            raise self._error

    def _run(self) -> None:
        try:
            for chunk in self._decompressed():
                self._hash.update(chunk)
                if not self._hand_over(chunk):
                    return
        except BaseException as error:  # raised again in the thread that reads `chunks`
            self._error = error
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _hand_over(self, chunk: bytes) -> bool:
        """Queue `chunk` once there is room; return whether more is wanted."""
        with self._changed:
            self._changed.wait_for(lambda: self._waiting < _WAITING or self._done)
            self._chunks.append(chunk)
            self._waiting += len(chunk)
            self._changed.notify_all()
            return not self._done

    def _decompressed(self) -> "Iterator[bytes]":
        given = 0
        for chunk in decompressed(self._compressed()):
            given += len(chunk)
            check_ratio(self._taken, given)
            yield chunk

    def _compressed(self) -> "Iterator[bytes]":
        while data := self._reader.read(_INPUT_SIZE):
            self._taken += len(data)
            yield data
