"""A layer of an image, made of what a container has written: an archive in the store, and the unpacked layer."""

import hashlib
import stat

from foundation import overlayfs
from foundation.linux import os, whole_file
from foundation.linux.openat2 import openat2
from foundation.linux.opened import opened
from foundation.linux.unistd import syncfs
from pyfetch.bundle import overlay
from pyfetch.image.image import chain_ids
from pyfetch.image.store import publish
from pyfetch.unpack import tar
from pyrund.archive.changes import BELOW, DELETED, LOOK, OF_INIT_LAYER, OF_THE_RUNTIME, Comparison, is_gone
from pyrund.archive.writer import END, Archive, header
from pyrund.build.image import Draft, layer_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Any, TypeVar

    from pyfetch.image.store import Store

    Json = dict[str, Any]
    T = TypeVar("T")

_WHITEOUT, _OPAQUE = b".wh.", b".wh..wh..opq"  # image-spec, layer.md


class _Nothing:
    """The status of the empty file that says in an archive what is gone."""

    st_mode = st_uid = st_gid = st_mtime_ns = st_rdev = 0


def write_layer(store: "Store", draft: Draft, upper: str) -> "Json | None":
    """Store what `upper` has beyond the layers of the draft as an archive; return the layer, None if it has nothing."""
    return _with_image(store, draft, lambda image: _write(store, Comparison(image), upper))[0]


def _with_image(store: "Store", draft: Draft, look: "Callable[[int], T]") -> "T":
    """Call `look` with a descriptor of the root of the draft's layers; -1 if it has none."""
    folders = draft.folders(store)
    return overlay.with_view(store, folders, look) if folders else look(-1)


def _write(store: "Store", comparison: Comparison, upper: str) -> "tuple[Json | None, bool]":
    """Return the layer, and whether a directory in it hides one of the image."""
    found = comparison.of(upper)
    layer = store_archive(store, _archive(upper, found, comparison.opaque)) if found else None
    return layer, bool(comparison.opaque)


def store_archive(store: "Store", pieces: "Iterator[bytes]") -> "Json":
    """Store an archive without compression; return the layer that it is. It is on the disk when it is unpacked."""
    temporary = os.path.join(store.path, "partial", f".{os.urandom(8).hex()}.part")
    hasher, size = hashlib.sha256(), 0
    file = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        for piece in pieces:
            hasher.update(piece)
            size += len(piece)
            whole_file.write_all(file, piece)
        digest = f"sha256:{hasher.hexdigest()}"
        os.rename(temporary, store.blob_path(digest))
    except BaseException:
        if os.path.exists(temporary):
            os.unlink(temporary)
        raise
    finally:
        os.close(file)
    return layer_json(digest, size)


def _archive(upper: str, found: "list[tuple[bytes, int]]", opaque: "set[bytes]") -> "Iterator[bytes]":
    archive = Archive()
    with opened(os.open(upper, LOOK | os.O_DIRECTORY)) as top:
        for path, kind in found:
            above, _, name = path[1:].rpartition(b"/")
            if kind == DELETED:
                yield _gone(above + b"/" * bool(above) + _WHITEOUT + name)
                continue
            with opened(openat2(top, path, LOOK, BELOW)) as file:
                yield from archive.member(file, path[1:])
            if path in opaque:
                yield _gone(path[1:] + b"/" + _OPAQUE)
    yield END


def _gone(name: bytes) -> bytes:
    return header(name, tar.REGULAR, _Nothing, 0, b"", {})  # type: ignore[arg-type]


def take_layer(store: "Store", draft: Draft, upper: str, latest: "int | None") -> "Json | None":
    """Make `upper`, over which nothing is mounted, a layer of the store; return it, or None if nothing is in it.

    No file of it is younger than `latest`, in nanoseconds. If a directory in it hides one of the image, it is stored as
    an archive alone: whoever unpacks that removes what is hidden, file by file, and such is the form of all layers.
    """
    _with_image(store, draft, lambda image: _remove_places(image, upper))
    if latest is not None:
        _age(upper, latest)
    layer, hides = _with_image(store, draft, lambda image: _write(store, Comparison(image), upper))
    if layer is None or hides:
        return layer
    chain = chain_ids([*draft.document["rootfs"]["diff_ids"], layer["digest"]])[-1]
    name = store.layer_name(chain)
    lock = store.lock(name)
    try:
        if not store.has_layer(chain):
            _give_root(store, draft, upper)
            with opened(os.open(store.layers, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as disk:
                syncfs(disk)
            publish(upper, f"{store.layers}/{name}")
    finally:
        os.close(lock)
    return layer


def _give_root(store: "Store", draft: Draft, upper: str) -> None:
    """Let the root directory be as if the archive, which does not have it, had been unpacked."""
    if folders := draft.folders(store):
        overlay.copy_root(f"{store.layers}/{folders[-1]}", upper)
        return
    os.chown(upper, 0, 0)
    os.chmod(upper, 0o755)
    os.utime(upper, ns=(0, 0))


def _remove_places(image: int, upper: str) -> None:
    """Remove what the runtime has made as places of its mounts: a layer has what its archive has, and no more.

    A file that all containers have, and the image has not, is there again in the next one, as with dockerd.
    """
    above: set[bytes] = set()
    with opened(os.open(upper, LOOK | os.O_DIRECTORY)) as top:
        for path in sorted(OF_THE_RUNTIME, reverse=True):
            if not _has(image, path):
                _remove_empty(top, path)
                above.add(path.rpartition(b"/")[0])
        for path in OF_INIT_LAYER:
            if not _has(image, path) and _is_gone(top, path):
                os.unlink(path[1:], dir_fd=top)
        for path in above - {b""}:
            if _has(image, path) and _is_same_directory(image, top, path):
                _remove_empty(top, path)


def _has(root: int, path: bytes) -> bool:
    try:
        os.close(openat2(root, path, LOOK, BELOW))
        return True
    except OSError:
        return False


def _is_gone(top: int, path: bytes) -> bool:
    try:
        with opened(openat2(top, path, LOOK, BELOW)) as file:
            return is_gone(os.fstat(file))
    except OSError:
        return False


def _remove_empty(top: int, path: bytes) -> None:
    folder, _, name = path.rpartition(b"/")
    try:
        with opened(openat2(top, folder or b"/", LOOK | os.O_DIRECTORY, BELOW)) as directory:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            if stat.S_ISDIR(status.st_mode):
                os.rmdir(name, dir_fd=directory)
            elif stat.S_ISREG(status.st_mode) and not status.st_size:
                os.unlink(name, dir_fd=directory)
    except OSError:
        pass  # it is not there, or has something in it


def _is_same_directory(image: int, top: int, path: bytes) -> bool:
    try:
        with opened(openat2(image, path, LOOK, BELOW)) as old, opened(openat2(top, path, LOOK, BELOW)) as new:
            before, after = os.fstat(old), os.fstat(new)
            is_opaque = overlayfs.opaque() in os.listxattr(b"/proc/self/fd/%d" % new)
    except OSError:
        return False
    both = [(one.st_mode, one.st_uid, one.st_gid) for one in (before, after)]
    return both[0] == both[1] and not is_opaque


def _age(upper: str, latest: int) -> None:
    """Let no file below `upper` be younger than `latest`."""
    pending = [upper]
    while pending:
        folder = pending.pop()
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    pending.append(entry.path)
                if entry.stat(follow_symlinks=False).st_mtime_ns > latest:
                    os.utime(entry.path, ns=(latest, latest), follow_symlinks=False)
