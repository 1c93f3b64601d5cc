"""The local store: what was fetched once is not fetched again.

    oci-layout index.json blobs/   an OCI image layout, which other tools read too; index.json names the images
    partial/                       downloads that are not complete; they survive us and are resumed
    layers/NAME/                   layers unpacked on top of each other, shared by bundles; NAME is from the chainID
    bundles/NAME                   bundles without a name of their own, and links to the others, for prune
    locks/                         files to lock, nothing in them

What has its final name is whole: everything is made under another name and renamed. Whoever uses the store holds
`lock` shared, whoever removes from it exclusively. The kernel drops locks of processes that died.
"""

import fcntl
import os
import stat

from pyfetch import digest as digests
from pyfetch.document import parse, to_json
from pyfetch.errors import DiskError, VerificationError
from pyfetch.manifest import Descriptor, read_descriptor

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from io import FileIO

    Images = list[tuple[str, Descriptor]]

REF_NAME = "org.opencontainers.image.ref.name"  # annotations.md: the name of an image in a layout

_FOLDERS = ("blobs", "blobs/sha256", "blobs/sha512", "partial", "layers", "bundles", "locks")
_MAXIMUM_INDEX = 32 << 20


def default_path() -> str:
    """Return where the store is unless the user says otherwise. Ask before entering a user namespace."""
    if os.environ.get("PYFETCH_STORE"):
        return os.environ["PYFETCH_STORE"]
    if os.geteuid() == 0:
        return "/var/lib/pyfetch"
    data = os.environ.get("XDG_DATA_HOME") or os.path.join(os.path.expanduser("~"), ".local/share")
    return os.path.join(data, "pyfetch")


class Store:
    def __init__(self, path: str) -> None:
        self.path = os.path.abspath(path)
        self.layers = os.path.join(self.path, "layers")
        self.bundles = os.path.join(self.path, "bundles")
        self._descriptor = -1

    def open(self, exclusive: bool = False) -> None:
        """Make the store if it is not there, and lock it for as long as the process lives."""
        os.makedirs(self.path, 0o700, exist_ok=True)
        self._check_owner()
        for folder in _FOLDERS:
            os.makedirs(os.path.join(self.path, folder), 0o700, exist_ok=True)
        self._descriptor = self._open_lock("store")
        fcntl.flock(self._descriptor, fcntl.LOCK_EX if exclusive else fcntl.LOCK_SH)
        if not os.path.exists(self._file("oci-layout")):
            self._write_file("oci-layout", b'{"imageLayoutVersion":"1.0.0"}')

    def _check_owner(self) -> None:
        """Refuse a store that another user can write to: what is in it would be run as ours."""
        status = os.stat(self.path)
        if status.st_uid != os.geteuid() or status.st_mode & 0o022:
            raise DiskError(f"{self.path}: belongs to or can be written by another user: choose another with --store")

    # Blobs.

    def blob_path(self, digest: str) -> str:
        algorithm, _, encoded = digest.partition(":")
        return os.path.join(self.path, "blobs", algorithm, encoded)

    def partial_path(self, digest: str) -> str:
        return os.path.join(self.path, "partial", digest.replace(":", "-"))

    def has(self, descriptor: Descriptor) -> bool:
        """Tell whether the blob is there. One of another size does not count: fetching it again shows who is wrong."""
        try:
            status = os.stat(self.blob_path(descriptor.digest), follow_symlinks=False)
        except FileNotFoundError:
            return False
        return stat.S_ISREG(status.st_mode) and descriptor.size in (-1, status.st_size)

    def damaged(self, digest: str) -> VerificationError:
        """Remove a blob that is not what its name says, and return what to raise."""
        try:
            os.unlink(self.blob_path(digest))
        except FileNotFoundError:
            pass  # another process did it
        return VerificationError(f"{digest}: damaged in the store, and removed: fetch the image again")

    def read(self, descriptor: Descriptor, limit: int) -> bytes:
        """Return a small blob, verified."""
        with self._open_blob(descriptor.digest) as file:
            data = file.read(limit + 1)
        if len(data) > limit:
            raise VerificationError(f"{descriptor.digest}: larger than {limit} bytes")
        if digests.digest_of(data, descriptor.digest.partition(":")[0]) != descriptor.digest:
            raise self.damaged(descriptor.digest)
        return data

    def reader(self, descriptor: Descriptor) -> "StoredBlob":
        return StoredBlob(self, descriptor.digest, self._open_blob(descriptor.digest))

    def _open_blob(self, digest: str) -> "FileIO":
        return open(os.open(self.blob_path(digest), os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb", buffering=0)

    def write(self, digest: str, data: bytes) -> None:
        """Keep a small blob, whose digest the caller has verified."""
        self._write_file(os.path.relpath(self.blob_path(digest), self.path), data)

    # The names of images.

    def images(self) -> "Images":
        """Return (name, descriptor) of all images, in the order in which they came."""
        try:
            with open(self._file("index.json"), "rb") as file:
                document = parse(file.read(_MAXIMUM_INDEX), self._file("index.json"))
        except FileNotFoundError:
            return []
        found = [read_descriptor(entry) for entry in document.objects("manifests")]
        return [(descriptor.annotations.get(REF_NAME, ""), descriptor) for descriptor in found]

    def find(self, name: str) -> "Descriptor | None":
        return dict(self.images()).get(name)

    def tag(self, name: str, descriptor: Descriptor) -> None:
        known = self.find(name)
        if known is None or known.digest != descriptor.digest:
            self._rewrite_index(lambda images: [*((n, d) for n, d in images if n != name), (name, descriptor)])

    def untag(self, name: str) -> None:
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
            self._write_file("index.json", to_json(document).encode())
        finally:
            os.close(lock)

    # Layers and bundles.

    def layer_name(self, chain_id: str) -> str:
        """Return the folder of an unpacked layer in `layers`.

        Half of the chainID: 128 bits are beyond a second preimage, and mount(2) takes all lower directories of an
        overlay in one page.
        """
        return chain_id.partition(":")[2][:32]

    def has_layer(self, chain_id: str) -> bool:
        return os.path.isdir(os.path.join(self.layers, self.layer_name(chain_id)))

    def lock(self, name: str) -> int:
        """Wait for whoever makes the thing of this name now. Closing the descriptor gives the lock back."""
        lock = self._open_lock(name)
        fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def _file(self, name: str) -> str:
        return os.path.join(self.path, name)

    def _open_lock(self, name: str) -> int:
        return os.open(self._file(f"locks/{name}"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)

    def _write_file(self, name: str, data: bytes) -> None:
        temporary = self._file(f"partial/{os.getpid()}.{os.path.basename(name)}")
        with open(os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600), "wb") as file:
            file.write(data)
        os.rename(temporary, self._file(name))


def check_space(needs: "list[tuple[str, int]]") -> None:
    """Refuse what cannot fit, before it is downloaded. `needs` says how much goes into which folder."""
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
    """Reads a blob of the store and checks it at its end: disks fail, and other users may have been at it."""

    def __init__(self, store: Store, digest: str, file: "FileIO") -> None:
        self._store = store
        self._digest = digest
        self._hash = digests.hasher(digest)
        self._file = file

    def read(self, size: int) -> bytes:
        data = self._file.read(size)
        self._hash.update(data)
        if not data and self._hash.hexdigest() != self._digest.partition(":")[2]:
            raise self._store.damaged(self._digest)
        return data

    def settle(self) -> None:
        while self.read(1 << 20):
            pass

    def close(self) -> None:
        self._file.close()
