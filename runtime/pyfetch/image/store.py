"""The local store: what was fetched once is not fetched again.

    oci-layout index.json blobs/   an OCI image layout, which other tools read too; index.json names the images
    partial/                       incomplete downloads, which the next run resumes
    layers/NAME/                   layers unpacked on top of each other, shared by bundles; NAME is from the chainID
    bundles/NAME                   bundles for which the user gave no path, and links to the others, for prune
    kept/                          files of other programs: each names "blobs" and "layers" that prune must keep
    locks/                         empty files to lock

Everything is made under a temporary name, written to the disk and renamed, so what has its final name is complete,
also after a loss of power. Each process locks locks/store: shared, or exclusively to remove things (prune). The kernel
releases the locks of dead processes.
"""

import fcntl
import stat

from foundation.encode import encode
from foundation.errors import Error
from foundation.linux import os
from pyfetch.errors import DiskError, NotFound, UsageError, VerificationError
from pyfetch.image import digest as digests
from pyfetch.image.document import Document
from pyfetch.image.manifest import Descriptor, read_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO
    from typing import IO

    Images = list[tuple[str, Descriptor]]

REF_NAME = "org.opencontainers.image.ref.name"  # annotations.md: the name of an image in a layout

_MARK = "oci-layout"  # what makes a directory a store
_TEMPORARY = ".part"
LASTING_LOCKS = {"store", "index"}
_FOLDERS = ("blobs", "blobs/sha256", "blobs/sha512", "partial", "layers", "bundles", "locks")


def default_path() -> str:
    """Return the store's default path. Call this before entering a user namespace, where every user is root."""
    if os.environment.get("PYFETCH_STORE"):
        return os.environment["PYFETCH_STORE"]
    if os.geteuid() == 0:
        return "/var/lib/pyfetch"
    data = os.environment.get("XDG_DATA_HOME") or os.path.join(os.home(), ".local/share")
    return os.path.join(data, "pyfetch")


class Store:
    """The store at `path`, which open() makes and locks."""

    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.layers = os.path.join(self.path, "layers")
        self.bundles = os.path.join(self.path, "bundles")
        self.kept = os.path.join(self.path, "kept")
        self._descriptor = -1

    def open(self, exclusive: bool = False) -> None:
        """Make the store if necessary, and lock it for as long as the process lives."""
        try:
            os.makedirs(self.path, 0o700, exist_ok=True)
        except FileExistsError:
            raise UsageError(f"{self.path}: is not a directory: choose another with --store") from None
        self._check_owner()
        is_made = os.path.exists(self._file(_MARK))
        if not is_made:
            self._check_new()
        for folder in _FOLDERS:
            os.makedirs(os.path.join(self.path, folder), 0o700, exist_ok=True)
        self._descriptor = self._open_lock("store")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        if not is_made:
            self._write_file(_MARK, b'{"imageLayoutVersion":"1.0.0"}')

    def close(self) -> None:
        """Release the lock."""
        os.close(self._descriptor)
        self._descriptor = -1

    def _check_owner(self) -> None:
        """Refuse a store that another user can write to: we would run what he puts there."""
        status = os.stat(self.path)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise DiskError(f"{self.path}: belongs to or can be written by another user: choose another with --store")

    def _check_new(self) -> None:
        """Refuse a directory with the files of somebody else, which prune would remove. What open() makes may be there,
        of another process, or of one that was killed."""
        known = {*_FOLDERS, *(f"locks/{name}" for name in LASTING_LOCKS), "lost+found"}  # the last is of a whole disk
        for folder in ("", *_FOLDERS):
            path = self._file(folder)
            for name in os.listdir(path) if os.path.isdir(path) else []:
                if os.path.join(folder, name) not in known and not name.endswith(_TEMPORARY):
                    if os.path.exists(self._file(_MARK)):
                        return  # another process has made the store meanwhile
                    raise UsageError(
                        f"{self._file(os.path.join(folder, name))}: {self.path} is not a store: name a new "
                        "directory with --store"
                    )

    # Blobs.

    def blob_path(self, digest: str) -> str:
        algorithm, _, encoded = digest.partition(":")
        return os.path.join(self.path, "blobs", algorithm, encoded)

    def partial_path(self, digest: str) -> str:
        return os.path.join(self.path, "partial", digest.replace(":", "-"))

    def has(self, descriptor: Descriptor) -> bool:
        """Return whether the blob is there, with its size: another is fetched again, to show which side is wrong."""
        try:
            status = os.stat(self.blob_path(descriptor.digest), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and descriptor.size in (-1, status.st_size)

    def damaged(self, digest: str) -> VerificationError:
        """Remove a blob that does not match its digest; return the error to raise."""
        try:
            os.unlink(self.blob_path(digest))
        except FileNotFoundError:
            pass  # another process did it
        return VerificationError(f"{digest}: damaged in the store, and removed: fetch the image again")

    def read(self, descriptor: Descriptor, limit: int) -> "bytes | None":
        """Return a small blob, verified, or None if it is not there."""
        file = self.open_blob(descriptor)
        if file is None:
            return None
        with file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise VerificationError(f"{descriptor.digest}: larger than {limit} bytes")
        if digests.digest_of(data, descriptor.digest.partition(":")[0]) != descriptor.digest:
            raise self.damaged(descriptor.digest)
        return data

    def reader(self, descriptor: Descriptor) -> "StoredBlob":
        """Return a reader that verifies the blob at its end; raise NotFound if it is not there."""
        file = self.open_blob(descriptor)
        if file is None:
            raise NotFound(f"{descriptor.digest}: not in the store any more: fetch the image again")
        return StoredBlob(self, descriptor.digest, file)

    def open_blob(self, descriptor: Descriptor) -> "FileIO | None":
        """Open the blob, or return None: another process may remove it as damaged at any time."""
        if not self.has(descriptor):
            return None
        try:
            return open(self.blob_path(descriptor.digest), "rb", buffering=0)
        except FileNotFoundError:
            return None

    def write(self, digest: str, data: bytes) -> None:
        """Store a small blob, whose digest the caller has verified."""
        write_file(self.blob_path(digest), lambda file: file.write(data), self._file("partial"), 0o600)

    # The names of images.

    def images(self) -> "Images":
        """Return (name, descriptor) of all images, in the order in which they were tagged."""
        try:
            document = Document.load(self._file("index.json"), self._file("index.json"))
        except FileNotFoundError:
            return []
        found = [read_descriptor(entry) for entry in document.objects("manifests")]
        return [(descriptor.annotations.get(REF_NAME, ""), descriptor) for descriptor in found]

    def find(self, name: str) -> "Descriptor | None":
        """Return the descriptor of the image with this full name, or None."""
        return dict(self.images()).get(name)

    def tag(self, name: str, descriptor: Descriptor) -> None:
        """Give the image `name`, taking it from an earlier image."""
        known = self.find(name)
        if known is None or known.digest != descriptor.digest:
            self._rewrite_index(lambda images: [*((n, d) for n, d in images if n != name), (name, descriptor)])

    def untag(self, name: str) -> None:
        """Remove the name `name`; prune then removes the image."""
        self._rewrite_index(lambda images: [(n, d) for n, d in images if n != name])

    def _rewrite_index(self, change: "Callable[[Images], Images]") -> None:
        lock = self._open_lock("index")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            entries = [{**d.as_json(), "annotations": {REF_NAME: name}} for name, d in change(self.images())]
            document = {
                "schemaVersion": 2,
                "mediaType": "application/vnd.oci.image.index.v1+json",
                "manifests": entries,
            }
            self._write_file("index.json", encode(document).encode())
        finally:
            os.close(lock)

    # Layers and bundles.

    def layer_name(self, chain_id: str) -> str:
        """Return the folder of an unpacked layer in `layers`.

        Half of the chainID: 128 bits still resist a second preimage, and mount(2) takes all lower directories of an
        overlay in one page.
        """
        return chain_id.partition(":")[2][:32]

    def has_layer(self, chain_id: str) -> bool:
        """Return whether the unpacked layer is there, which is then complete."""
        return os.path.isdir(os.path.join(self.layers, self.layer_name(chain_id)))

    def kept_records(self) -> "list[Document]":
        """Return what other programs need; remove the files of theirs that cannot be read."""
        found = []
        for name in os.listdir(self.kept) if os.path.isdir(self.kept) else []:
            path = os.path.join(self.kept, name)
            try:
                found.append(Document.load(path, path))
            except Error:
                os.unlink(path)  # a power failure has left a half
        return found

    def lock(self, name: str) -> int:
        """Lock `name` exclusively, waiting for other processes, until the returned descriptor is closed."""
        lock = self._open_lock(name)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _open_lock(self, name: str) -> int:
        return os.open(self._file(f"locks/{name}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _write_file(self, name: str, data: bytes) -> None:
        write_file(self._file(name), lambda file: file.write(data), self._file("partial"), 0o600)


def write_file(path: str, write: "Callable[[IO[bytes]], object]", folder: str, mode: int) -> None:
    """Make or replace the file `path` atomically, with what `write` writes, so that a loss of power leaves it whole.

    Until then it is in `folder`, on the same file system, under a random name: processes of containers that share a
    store may have the same pid.
    """
    temporary, descriptor = _new_file(folder, mode)
    try:
        with open(descriptor, "wb") as file:
            write(file)
            file.flush()
            os.fsync(file.fileno())
        publish(temporary, path)
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise


def publish(temporary: str, path: str) -> None:
    """Give what is at `temporary`, and on the disk, its final name `path`; return when the name is on the disk too."""
    os.rename(temporary, path)
    folder = os.open(os.path.dirname(path), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def nameless_file(folder: str) -> "IO[bytes]":
    """Return a file without a name, which is gone when it is closed. Not all file systems have O_TMPFILE."""
    name, descriptor = _new_file(folder, 0o600)
    os.unlink(name)
    return open(descriptor, "w+b")


def _new_file(folder: str, mode: int) -> "tuple[str, int]":
    name = os.path.join(folder, f".{os.urandom(8).hex()}{_TEMPORARY}")
    return name, os.open(name, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)


def check_space(needs: "list[tuple[str, int]]") -> None:
    """Raise DiskError if `needs`, pairs of folder and bytes, exceed the free space of a file system."""
    by_device: dict[int, tuple[str, int]] = {}
    for folder, size in needs:
        device = os.stat(folder).st_dev
        first, total = by_device.get(device, (folder, 0))
        by_device[device] = first, total + size
    for folder, size in by_device.values():
        status = os.statvfs(folder)
        free = status.f_bavail * status.f_frsize
        if size > free:
            raise DiskError(f"{folder}: no space left on device: {size} bytes needed, {free} free; try `pyfetch prune`")


class StoredBlob:
    """Reads a blob of the store and verifies it at its end: disks fail, and files get changed."""

    def __init__(self, store: Store, digest: str, file: "FileIO") -> None:
        self._store = store
        self._digest = digest
        self._hash = digests.hasher(digest)
        self._file = file

    def read(self, size: int) -> bytes:
        """Return at most `size` bytes, or b"" at the end; raise VerificationError there if the blob is damaged."""
        data = self._file.read(size)
        self._hash.update(data)
        if not data and self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise self._store.damaged(self._digest)
        return data

    def settle(self) -> None:
        """Read to the end; raise VerificationError if the blob is damaged."""
        while self.read(1 << 20):
            pass

    def close(self) -> None:
        self._file.close()
