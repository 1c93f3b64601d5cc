"""From a layer's blob to files: three things at once.

    reader (network or disk) -> Inflater's thread: decompress, hash -> this thread: tar, files

zlib, hashlib and system calls let go of the interpreter's lock, so that the threads really run side by side. What is
unpacked counts only when `unpack` returns: by then the blob had its digest and the archive its diffID. Until then the
caller keeps it under a temporary name.
"""

import hashlib
import threading
from collections import deque

from pyfetch.compression import decompressed
from pyfetch.errors import Error, VerificationError
from pyfetch.layer import Applier
from pyfetch.limits import Limits
from pyfetch.tar import Archive, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Reader(Protocol):
        """A blob that checks itself: at its end `read` raises unless size and digest were right.

        `settle` goes to the end at once, and raises the same.
        """

        def read(self, size: int) -> bytes: ...
        def settle(self) -> None: ...
        def close(self) -> None: ...


_INPUT_SIZE = 128 << 10
_WAITING = 8 << 20  # bytes between the two threads: the memory that their independence costs

# Real layers of text reach 20:1, and a disk image of zeros 1,000:1, which is gzip's maximum. What is small does no
# harm; what is large and all but empty is refused.
_RATIO_FROM = 2 << 30
_RATIO = 250


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
        reader.settle()  # an archive that makes no sense may be the wrong bytes: then that is what to tell
        raise
    finally:
        inflater.stop()
    if inflater.digest() != diff_id:
        raise VerificationError(f"a layer unpacks to {inflater.digest()}, but the image's config says {diff_id}")


class Inflater:
    """Decompresses and hashes in a thread of its own; `chunks` gives what comes out, and raises what went wrong."""

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
        return f"{self._algorithm}:{self._hash.hexdigest()}"

    def stop(self) -> None:
        """End the thread, also in the middle."""
        with self._changed:
            self._done = True
            self._changed.notify_all()
        self._thread.join()

    def chunks(self) -> "Iterator[bytes]":
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
        except BaseException as error:  # raised again in the thread that can do something about it
            self._error = error
        with self._changed:
            self._done = True
            self._changed.notify_all()

    def _hand_over(self, chunk: bytes) -> bool:
        """Wait for room; tell whether anybody still wants more."""
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
            if given > _RATIO_FROM and given > self._taken * _RATIO:
                raise VerificationError(
                    f"a layer of {self._taken} bytes unpacks to more than {given}: refused as a bomb"
                )
            yield chunk

    def _compressed(self) -> "Iterator[bytes]":
        while data := self._reader.read(_INPUT_SIZE):
            self._taken += len(data)
            yield data
