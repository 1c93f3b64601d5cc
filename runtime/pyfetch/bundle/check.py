"""Compares blobs and unpacked layers with their digests: stores of older versions did not wait for the disk, and disks
fail.

The store keeps no record of an unpacked layer's files. It has the layer's blob, and that has a digest: the layer is
unpacked again, and both trees are compared. A checksum of each file would take time in every pull, and the stores of
older versions would not have it.
"""

import stat
import sys
from itertools import zip_longest

from foundation.linux import os
from pyfetch.bundle import overlay
from pyfetch.bundle.bundle import Bundle
from pyfetch.errors import VerificationError
from pyfetch.image.digest import hasher, is_digest
from pyfetch.image.document import Document
from pyfetch.image.image import Image, stored_image
from pyfetch.image.manifest import Descriptor
from pyfetch.image.store import Store, publish
from pyfetch.progress import Progress
from pyfetch.sources.downloads import Downloads
from pyfetch.unpack.limits import Limits
from pyfetch.unpack.removal import remove_path
from pyfetch.unpack.tree import Tree, children, join

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator

_CHUNK = 1 << 20


def check(store: Store, bundles: "list[tuple[Bundle, Document]]", progress: Progress) -> "list[str]":
    """Mend or remove what is damaged; return a line for each such thing."""
    checker = _Checker(store, bundles, progress)
    checker.check_documents()
    checker.check_blobs()
    checker.check_layers()
    checker.check_bundles()
    return checker.damages


class _Checker:
    def __init__(self, store: Store, bundles: "list[tuple[Bundle, Document]]", progress: Progress) -> None:
        self.damages: list[str] = []
        self._store = store
        self._bundles = bundles
        self._progress = progress
        self._checked: set[str] = set()

    def check_documents(self) -> None:
        try:
            self._store.images()
        except VerificationError as error:
            os.unlink(os.path.join(self._store.path, "index.json"))
            self.damages.append(f"{error}: removed: fetch the images again, before a prune removes their layers")

    def check_blobs(self) -> None:
        for algorithm in ("sha256", "sha512"):
            for name in os.listdir(os.path.join(self._store.path, "blobs", algorithm)):
                if is_digest(f"{algorithm}:{name}"):
                    self._check_blob(f"{algorithm}:{name}")

    def _check_blob(self, digest: str) -> None:
        reader = self._store.reader(Descriptor("", digest, -1))
        try:
            reader.settle()
        except VerificationError as error:
            self.damages.append(str(error))
        finally:
            reader.close()

    def check_layers(self) -> None:
        for _, descriptor in self._store.images():
            image = stored_image(self._store, descriptor)
            if image is not None:
                self._check_layers_of(image)
        for record in self._store.kept_records():
            self._checked.update(record.strings("layers"))
        for name in os.listdir(self._store.layers):
            if not name.startswith(".") and name not in self._checked:
                self.damages.append(f"layer {name}: of no image in the store, so there is nothing to compare it with")

    def _check_layers_of(self, image: Image) -> None:
        folders = [self._store.layer_name(layer.chain_id) for layer in image.layers]
        downloads = Downloads(self._store, None, [], 1, self._progress)

        def check_all(names: "list[str]") -> None:
            for number, layer in enumerate(image.layers):
                if folders[number] in self._checked or not self._store.has_layer(layer.chain_id):
                    continue
                self._checked.add(folders[number])
                if not self._store.has(layer.descriptor):
                    self._remove_layer(folders[number], "its blob is not in the store, so it cannot be compared")
                    continue
                limits = Limits(sys.maxsize, sys.maxsize >> 8)  # it was unpacked once
                below = names[:number]
                overlay.unpack_layer(self._store, below, layer, downloads, limits, self._progress, self._compare)

        overlay.in_private_mounts(lambda: overlay.with_short_names(self._store, folders, check_all))

    def _compare(self, new: str, path: str) -> None:
        name = os.path.basename(path)
        if not _are_equal(new, path) and self._remove_layer(name, "not what its digest says"):
            publish(new, path)
            self.damages[-1] += ", and unpacked again"

    def _remove_layer(self, name: str, why: str) -> bool:
        """Remove the layer, and return True, unless a bundle needs it now; report it."""
        bundles = [bundle for bundle, record in self._bundles if name in record.strings("overlay")]
        used = next((bundle.path for bundle in bundles if bundle.is_used()), None)
        if used is not None:
            self.damages.append(f"layer {name}: {why}, but used by {used}: unmount its rootfs, and check again")
            return False
        gone = os.path.join(self._store.layers, f".{name}.gone")
        os.rename(os.path.join(self._store.layers, name), gone)
        remove_path(gone)
        self.damages.append(f"layer {name}: {why}: removed")
        return True

    def check_bundles(self) -> None:
        for bundle, _ in self._bundles:
            if bundle.lacks_files():
                self.damages.append(f"{bundle.path}: config.json or image.json is empty: fetch its image into it again")


def _are_equal(one: str, other: str) -> bool:
    return all(a == b for a, b in zip_longest(_listing(one), _listing(other)))


def _listing(path: str) -> "Iterator[tuple[object, ...]]":
    """Yield what the directory `path` and each file below it are, in an order that does not depend on the disk."""
    root = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    first_names: dict[int, bytes] = {}  # of inodes: the same ones must be hard links
    try:
        yield _description(root, b".")
        with Tree(root) as tree:
            pending = [b""]
            while pending:
                folder = pending.pop()
                for name, is_directory in sorted(children(tree.directory(folder))):
                    here = join(folder, name)
                    inode = os.stat(name, dir_fd=tree.directory(folder), follow_symlinks=False).st_ino
                    yield here, first_names.setdefault(inode, here), *_description(tree.directory(folder), name)
                    if is_directory:
                        pending.append(here)
    finally:
        os.close(root)


def _description(folder: int, name: bytes) -> "tuple[object, ...]":
    status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    if stat.S_ISCHR(status.st_mode) and status.st_rdev == 0:
        return ("whiteout",)  # the kernel made it, with the time of then
    content: object = b""
    if stat.S_ISLNK(status.st_mode):
        content = os.readlink(name, dir_fd=folder)
    elif stat.S_ISREG(status.st_mode):
        content = _digest(folder, name)
    attributes = _attributes(b"/proc/self/fd/%d/%s" % (folder, name))
    return status.st_mode, status.st_uid, status.st_gid, status.st_rdev, status.st_mtime_ns, attributes, content


def _digest(folder: int, name: bytes) -> str:
    file = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=folder)
    try:
        total = hasher("sha256:")
        while data := os.read(file, _CHUNK):
            total.update(data)
        return total.hexdigest()
    finally:
        os.close(file)


def _attributes(path: bytes) -> "dict[str, bytes]":
    """Return the extended attributes, of overlayfs's own only the one that changes what is seen."""
    names = [
        name
        for name in os.listxattr(path, follow_symlinks=False)
        if not name.startswith("trusted.overlay.") or name == "trusted.overlay.opaque"
    ]
    return {name: os.getxattr(path, name, follow_symlinks=False) for name in names}
