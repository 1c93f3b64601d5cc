"""Downloads blobs into the store: several at a time, resumable, and readable while they arrive.

A download is a file in `partial`, locked by the process that fills it. It is named by the digest, so that a later run,
of any image, resumes it. Once size and digest are verified, it is written to the disk and becomes a blob of the store.
"""

import fcntl
import threading

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.whole_file import write_all_at
from foundation.linux.writeback import Writeback
from pyfetch.errors import VerificationError
from pyfetch.image.digest import hasher
from pyfetch.image.manifest import Descriptor
from pyfetch.image.store import Store, StoredBlob, publish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.image import Source
    from pyfetch.progress import Progress

_COPY_SIZE = 1 << 20


class Restarted(Exception):
    """The bytes read so far were wrong and the download began anew; the reader must do so too."""


class Downloads:
    """Fetches those `descriptors` that the store lacks, in their order, `jobs` at a time.

    `source` may be None if there is nothing to fetch.
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
        absent = {d.digest: d for d in descriptors if not store.has(d)}  # a layer that occurs twice is fetched once
        self._downloads = {d.digest: _Download(store, source, d, progress) for d in absent.values() if source}
        self._queue = list(self._downloads.values())[::-1]
        self._lock = threading.Lock()
        for _ in range(min(jobs, len(self._queue))):
            threading.Thread(target=self._work, daemon=True).start()

    def reader(self, descriptor: Descriptor) -> "Follower | StoredBlob":
        """Return a reader that verifies the blob, which may still be arriving."""
        download = self._downloads.get(descriptor.digest)
        return Follower(download) if download is not None else self._store.reader(descriptor)

    def wait(self) -> None:
        """Wait until all blobs have come; raise the first error."""
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
        self.position = 0  # bytes in the file
        self.restarts = 0
        self.done = False
        self.error: BaseException | None = None
        self._store = store
        self._source = source
        self._progress = progress

    def run(self) -> None:
        """Fetch the blob in this thread; an error is raised again in the threads that read or wait."""
        error: BaseException | None = None
        try:
            try:
                self._fetch()
                self._progress.layer(self.descriptor, "Download complete")
            finally:
                if self.file >= 0:
                    # Release the lock now, or deadlock: its next holder may hold the layer lock that we are waiting
                    # for. The file stays open for readers.
                    fcntl.flock(self.file, fcntl.LOCK_UN)
        except BaseException as caught:
            error = caught
        with self.changed:
            self.error, self.done = error, True
            self.changed.notify_all()

    def wait(self) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.done)
        if self.error is not None:
            raise self.error

    def _fetch(self) -> None:
        if not self._open():
            self._advance(self.descriptor.size)
            return
        resumed = self._hash_what_is_there()
        while not self._transfer():
            os.ftruncate(self.file, 0)
            if not self._source.distrust() and not resumed:
                raise VerificationError(f"filesystem layer verification failed for digest {self.descriptor.digest}")
            resumed = False
            self._restart()
        os.fsync(self.file)
        publish(self._store.partial_path(self.descriptor.digest), self._store.blob_path(self.descriptor.digest))

    def _open(self) -> bool:
        """Open and lock the partial file, and return True; or open the blob if another process has just made it."""
        path = self._store.partial_path(self.descriptor.digest)
        while (blob := self._store.open_blob(self.descriptor)) is None:
            file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
            fcntl.flock(file, fcntl.LOCK_EX)
            # Only the holder of the lock renames the file at `path`, so this check counts.
            locked = _is_at(file, path)
            if locked and not self._store.has(self.descriptor):
                self.file = file
                return True
            if locked:  # it was renamed before we opened it: ours is a new file
                os.unlink(path)
            os.close(file)
        self.file = os.dup(blob.fileno())
        return False

    def _hash_what_is_there(self) -> bool:
        """Hash what an earlier run has left; return whether there was anything."""
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
        """Fetch what is missing; return whether the digest is right."""
        self._progress.layer(self.descriptor, "Downloading", self.position)
        if self.position < self.descriptor.size:
            writeback = Writeback(self.file, self.position)
            for piece in self._source.blob(self.descriptor, self.position):
                self._hash.update(piece)
                write_all_at(self.file, piece, self.position)
                self._advance(self.position + len(piece))
                writeback.advance(self.position)
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
    """Reads a download while it arrives. It reports the end only once the digest has been verified."""

    def __init__(self, download: _Download) -> None:
        self._download = download
        self._restarts = download.restarts
        self._position = 0

    def read(self, size: int) -> bytes:
        """Wait for data; return at most `size` bytes, or b"" at the end. Raise the download's error, or Restarted."""
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
            raise Error(f"{download.descriptor.digest}: another process truncated the partial download")
        self._position += len(data)
        return data

    def settle(self) -> None:
        """Wait until the download has ended; raise its error, or Restarted."""
        download = self._download
        with download.changed:
            download.changed.wait_for(lambda: download.done or download.restarts != self._restarts)
        if self._restarts != download.restarts:
            raise Restarted
        if download.error is not None:
            raise download.error

    def close(self) -> None:
        """Do nothing: the file belongs to the download."""

    def _has_news(self) -> bool:
        download = self._download
        return download.done or download.position > self._position or download.restarts != self._restarts


def _is_at(file: int, path: str) -> bool:
    try:
        return os.path.samestat(os.fstat(file), os.stat(path))
    except FileNotFoundError:
        return False
