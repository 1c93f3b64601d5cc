"""Blobs on their way into the store: several at a time, resumed where an earlier run stopped, readable meanwhile.

A download is a file in `partial`, locked by whoever fills it. It is named by the digest, so that any later run, of any
image, takes it up. It becomes a blob of the store by rename, once size and digest are right.
"""

import fcntl
import os
import threading

from pyfetch.digest import hasher
from pyfetch.errors import Error, VerificationError
from pyfetch.manifest import Descriptor
from pyfetch.store import Store, StoredBlob

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Protocol

    from pyfetch.progress import Progress

    class Source(Protocol):
        """Where an image comes from. `name` is what the store calls it; digests are verified by `document` and by us.

        `top` gives a descriptor of what the name means now, and the document if that came with it. `blob` gives the
        bytes from an offset on. `distrust` leaves out what gave wrong bytes, and tells whether something is left.
        """

        name: str

        def top(self) -> "tuple[Descriptor, bytes | None]": ...
        def document(self, descriptor: Descriptor) -> bytes: ...
        def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]": ...
        def distrust(self) -> bool: ...


_COPY_SIZE = 1 << 20


class Restarted(Exception):
    """What was read so far was wrong, and the download began anew: so must the reader."""


class Downloads:
    """Fetches `descriptors` in their order, `jobs` at a time, what is in the store excepted.

    Where nothing is to be fetched, there may be no source.
    """

    def __init__(
        self,
        store: Store,
        source: "Source | None",
        descriptors: "list[Descriptor]",
        jobs: int,
        progress: "Progress",
    ) -> None:
        self._store = store
        absent = {d.digest: d for d in descriptors if not store.has(d)}  # a layer that occurs twice comes once
        self._downloads = {d.digest: _Download(store, source, d, progress) for d in absent.values() if source}
        self._queue = list(self._downloads.values())[::-1]
        self._lock = threading.Lock()
        for _ in range(min(jobs, len(self._queue))):
            threading.Thread(target=self._work, daemon=True).start()

    def reader(self, descriptor: Descriptor) -> "Follower | StoredBlob":
        """Return a reader that verifies, of a blob that may still be on its way."""
        download = self._downloads.get(descriptor.digest)
        return Follower(download) if download is not None else self._store.reader(descriptor)

    def wait(self) -> None:
        """Return when all have come; raise what went wrong."""
        for download in self._downloads.values():
            download.wait()

    def _work(self) -> None:
        while True:
            with self._lock:
                if not self._queue:
                    return
                download = self._queue.pop()
            download.run()


class _Download:
    def __init__(self, store: Store, source: "Source", descriptor: Descriptor, progress: "Progress") -> None:
        self.descriptor = descriptor
        self.changed = threading.Condition()
        self.file = -1
        self.position = 0  # so many bytes are in the file
        self.restarts = 0
        self.done = False
        self.error: BaseException | None = None
        self._store = store
        self._source = source
        self._progress = progress

    def run(self) -> None:
        """Fetch. What goes wrong is kept for those who read or wait: this is a thread of its own."""
        error: BaseException | None = None
        try:
            self._fetch()
            self._progress.layer(self.descriptor, "Download complete")
        except BaseException as caught:
            error = caught
        if self.file >= 0:
            # The file stays open for readers. Who waits for this lock may have the one to unpack that we wait for.
            fcntl.flock(self.file, fcntl.LOCK_UN)
        with self.changed:
            self.error, self.done = error, True
            self.changed.notify_all()

    def wait(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.done)
        if self.error is not None:
            raise self.error

    def _fetch(self) -> None:
        self.file = self._open()
        if self._store.has(self.descriptor):  # another process had the lock, and was faster
            self._advance(self.descriptor.size)
            return
        resumed = self._hash_what_is_there()
        while not self._transfer():
            os.ftruncate(self.file, 0)
            if not self._source.distrust() and not resumed:
                raise VerificationError(f"filesystem layer verification failed for digest {self.descriptor.digest}")
            resumed = False
            self._restart()
        os.rename(self._store.partial_path(self.descriptor.digest), self._store.blob_path(self.descriptor.digest))

    def _open(self) -> int:
        """Open and lock the partial file; if it was renamed while we waited for the lock, what it became."""
        path = self._store.partial_path(self.descriptor.digest)
        while True:
            if self._store.has(self.descriptor):
                return os.open(self._store.blob_path(self.descriptor.digest), os.O_RDONLY | os.O_CLOEXEC)
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            if _is_at(file, path):
                return file
            os.close(file)

    def _hash_what_is_there(self) -> bool:
        """Take up what an earlier run has left; tell whether it was anything."""
        self._hash = hasher(self.descriptor.digest)
        size = os.fstat(self.file).st_size
        if size > self.descriptor.size:
            os.ftruncate(self.file, 0)
            size = 0
        position = 0
        while position < size:
            data = os.pread(self.file, _COPY_SIZE, position)
            self._hash.update(data)
            position += len(data)
        self._advance(position)
        return position > 0

    def _transfer(self) -> bool:
        """Fetch what is missing; tell whether the digest is right."""
        self._progress.layer(self.descriptor, "Downloading", self.position)
        if self.position < self.descriptor.size:
            for piece in self._source.blob(self.descriptor, self.position):
                self._hash.update(piece)
                _write_all(self.file, piece, self.position)
                self._advance(self.position + len(piece))
                self._progress.layer(self.descriptor, "Downloading", self.position)
        self._progress.layer(self.descriptor, "Verifying Checksum")
        return self._hash.hexdigest() == self.descriptor.digest.partition(":")[2]

    def _advance(self, position: int) -> None:
        with self.changed:
            self.position = position
            self.changed.notify_all()

    def _restart(self) -> None:
        self._hash = hasher(self.descriptor.digest)
        with self.changed:
            self.restarts += 1
            self.position = 0
            self.changed.notify_all()


class Follower:
    """Reads a download while it comes. The end is reported only once its digest has been verified."""

    def __init__(self, download: _Download) -> None:
        self._download = download
        self._restarts = download.restarts
        self._position = 0

    def read(self, size: int) -> bytes:
        download = self._download
        with download.changed:
            download.changed.wait_for(self._has_news)
            if self._restarts != download.restarts:
                raise Restarted
            available = download.position - self._position
        if not available:
            if download.error is not None:
                raise download.error
            return b""
        data = os.pread(download.file, min(size, available), self._position)
        if not data:
            raise Error(f"{download.descriptor.digest}: the partial download was cut short by somebody else")
        self._position += len(data)
        return data

    def settle(self) -> None:
        download = self._download
        with download.changed:
            download.changed.wait_for(lambda: download.done or download.restarts != self._restarts)
        if self._restarts != download.restarts:
            raise Restarted
        if download.error is not None:
            raise download.error

    def close(self) -> None:
        """Nothing to close: the file is the download's."""

    def _has_news(self) -> bool:
        download = self._download
        return download.done or download.position > self._position or download.restarts != self._restarts


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False


def _write_all(file: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        written = os.pwrite(file, view, offset)
        view, offset = view[written:], offset + written
