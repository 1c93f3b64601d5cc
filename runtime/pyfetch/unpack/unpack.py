"""Unpacks the blob of a layer, with four things at once:

    reader (network or disk) -> thread: decompress -> thread: hash -> this thread: tar, files

zlib, hashlib and system calls release the interpreter's lock, so the threads run in parallel. Decompression takes the
longest by far if the files are large, so its thread does nothing else. The result is valid only when `unpack` returns:
then the blob's digest and the archive's diffID are verified. Until then the caller keeps it under a temporary name.
"""

import hashlib
import threading
from collections import deque

from foundation.errors import Error
from foundation.linux.malloc import keep_freed
from pyfetch.errors import VerificationError
from pyfetch.unpack.compression import decompressed
from pyfetch.unpack.layer import Applier
from pyfetch.unpack.limits import Limits, check_ratio
from pyfetch.unpack.tar import Archive, Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    from pyfetch.image.digest import Hash

    class Reader(Protocol):
        """A blob that verifies itself: at its end `read` raises an error unless size and digest are right.

        `settle` goes to the end at once, and raises the same.
        """

        def read(self, size: int) -> bytes: ...
        def settle(self) -> None: ...
        def close(self) -> None: ...


_INPUT_SIZE = 128 << 10
_WAITING = 4 << 20  # bytes that may wait between two threads
_FREED = 64 << 20  # bytes: more than all threads hold at a time


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
    keep_freed(_FREED)  # chunks come and go: without it the pull of a large layer has ten times as many page faults
    algorithm = diff_id.partition(":")[0]
    hash_ = hashlib.new(algorithm)
    inflated = Ahead(_inflated(reader))
    hashed = Ahead(_hashed(inflated.chunks(), hash_), behind=inflated)
    try:
        stream = Stream(hashed.chunks())
        Applier(root, limits, single, warn, lower).apply(Archive(stream))
        stream.drain()
    except Error:
        hashed.stop()
        reader.settle()  # a malformed archive may be due to wrong bytes, which is then the error
        raise
    finally:
        hashed.stop()
    digest = f"{algorithm}:{hash_.hexdigest()}"
    if digest != diff_id:
        raise VerificationError(f"a layer unpacks to {digest}, but the image's config says {diff_id}")


def _inflated(reader: "Reader") -> "Iterator[bytes]":
    taken = given = 0

    def compressed() -> "Iterator[bytes]":
        nonlocal taken
        while data := reader.read(_INPUT_SIZE):
            taken += len(data)
            yield data

    for chunk in decompressed(compressed(), has_digest=True):
        given += len(chunk)
        check_ratio(taken, given)
        yield chunk


def _hashed(chunks: "Iterator[bytes]", hash_: "Hash") -> "Iterator[bytes]":
    for chunk in chunks:
        hash_.update(chunk)
        yield chunk


class Ahead:
    """Runs the generator `source` in a thread of its own, ahead of the thread that reads `chunks`.

    If `source` reads from another Ahead, that is the one `behind`, which is stopped together with this one.
    """

    def __init__(self, source: "Iterator[bytes]", behind: "Ahead | None" = None) -> None:
        self._source = source
        self._behind = behind
        self._changed = threading.Condition()
        self._chunks: deque[bytes] = deque()
        self._waiting = 0
        self._done = False
        self._error: BaseException | None = None
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Stop the thread, even before the end of `source`."""
        with self._changed:
            self._done = True
            self._changed.notify_all()
        if self._behind:
            self._behind.stop()  # before the join, because our thread may be waiting for it
        self._thread.join()

    def chunks(self) -> "Iterator[bytes]":
        """Yield what `source` yields; raise the error that it raises."""
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
            for chunk in self._source:
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
