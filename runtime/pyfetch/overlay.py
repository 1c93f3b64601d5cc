"""Layers unpacked once, on top of each other, by the kernel's overlay file system.

Each layer of the store holds what it changes, in overlayfs's own terms, because it was unpacked into an overlay over
the layers below it: whiteouts, opaque directories and copies of what hard links point to are the kernel's work. So the
same code (layer.py) makes a flat tree and a stack, and both show the same files.

    thread "unpack" (a mount namespace of its own: its mounts vanish with us, whatever happens)
        .NAME.new            becomes layers/NAME when it is complete
        .NAME.work/merged    .NAME.new over the layers below
"""

import os
from _thread import allocate_lock, start_new_thread

from pyfetch import linux
from pyfetch.errors import Error, reason
from pyfetch.image import Image, Layer
from pyfetch.limits import Limits
from pyfetch.store import Store
from pyfetch.tree import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from pyfetch.downloads import Downloads
    from pyfetch.progress import Progress

    T = TypeVar("T")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class NoOverlay(Error):
    """This system, or this file system, has no overlays for us."""


def unpack_layers(store: Store, image: Image, downloads: "Downloads", limits: Limits, progress: "Progress") -> None:
    """Make every layer of `image` that is not in the store yet."""
    in_private_mounts(lambda: _unpack_layers(store, image, downloads, limits, progress))


def _unpack_layers(store: Store, image: Image, downloads: "Downloads", limits: Limits, progress: "Progress") -> None:
    os.chdir(store.layers)  # of this thread alone
    below: list[str] = []
    for layer in image.layers:
        name = store.layer_name(layer.chain_id)
        if store.has_layer(layer.chain_id):
            progress.layer(layer.descriptor, "Already exists")
        else:
            lock = store.lock(name)
            try:
                if not store.has_layer(layer.chain_id):  # another process may just have made it
                    _unpack_layer(name, below, layer, downloads, limits, progress)
                progress.layer(layer.descriptor, "Pull complete")
            finally:
                os.close(lock)
        below.append(name)


def _unpack_layer(
    name: str, below: "list[str]", layer: Layer, downloads: "Downloads", limits: Limits, progress: "Progress"
) -> None:
    from pyfetch.downloads import Restarted  # only where something is unpacked: most calls find it done
    from pyfetch.unpack import unpack

    new, work = f".{name}.new", f".{name}.work"
    try:
        while True:
            root = _prepare(new, work, below)
            try:
                reader = progress.extracting(layer.descriptor, downloads.reader(layer.descriptor))
                unpack(reader, layer.diff_id, root, limits, single=False, lower=bool(below), warn=progress.warn)
                break
            except Restarted:
                limits = Limits(limits.size, limits.files)
            finally:
                os.close(root)
                if below:
                    linux.umount(f"{work}/merged")
        _remove(work)
        os.rename(new, name)  # last: from now on nobody looks here again
    finally:
        _remove(work)
        _remove(new)


def _prepare(new: str, work: str, below: "list[str]") -> int:
    """Return a descriptor of the directory to unpack into: `new` itself, or an overlay of it over the layers below."""
    for left_over in (new, work):  # by a process that died: we hold the layer's lock
        _remove(left_over)
    for folder in (new, work, f"{work}/work", f"{work}/merged"):
        os.mkdir(folder, 0o755)
    if not below:
        return os.open(new, _DIRECTORY)
    copy_root(below[-1], new)
    _mount(below[::-1], new, f"{work}/work", f"{work}/merged")
    return os.open(f"{work}/merged", _DIRECTORY)


def copy_root(source: str, target: str) -> None:
    """Give the new layer's root the attributes of the one below: it hides them, and its archive may not name it."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        if not name.startswith("trusted.overlay."):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def mount_bundle(store: Store, image_layers: "list[str]", bundle: str) -> None:
    """Mount the layers (bottom first) at BUNDLE/rootfs, with BUNDLE/upper as the writable one.

    In a thread whose working directory is its own, since mount(2) takes all lower directories in one page of text:
    relative to the folder of the layers they are short.
    """

    def mount() -> None:
        linux.unshare(linux.CLONE_FS)
        os.chdir(store.layers)
        _mount(image_layers[::-1], *(os.path.join(bundle, name) for name in ("upper", "work", "rootfs")))

    _in_thread(mount)


def with_view(store: Store, image_layers: "list[str]", look: "Callable[[int], T]") -> "T":
    """Return what `look` says about the root directory of the layers (bottom first), by its descriptor."""

    def mount_and_look() -> "T":
        os.chdir(store.layers)
        where = image_layers[-1]
        if len(image_layers) > 1:
            where = os.path.join(store.path, "partial")  # anything will do to mount over, in this namespace
            linux.mount("overlay", where, "overlay", linux.MS_RDONLY, f"lowerdir={':'.join(image_layers[::-1])}")
        root = os.open(where, _DIRECTORY)
        try:
            return look(root)
        finally:
            os.close(root)

    return in_private_mounts(mount_and_look)


def _mount(lower: "list[str]", upper: str, work: str, target: str) -> None:
    for path in (upper, work):
        if set(path) & set(",:\\"):
            raise NoOverlay(f"{path}: the path of an overlay cannot hold a comma, a colon or a backslash")
    options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work}"
    try:
        # What would make a layer unusable without its mount, or for other kernels, stays off.
        linux.mount("overlay", target, "overlay", 0, f"{options},index=off,metacopy=off,redirect_dir=off,xino=off")
    except OSError as error:
        raise NoOverlay(f"cannot mount an overlay: {reason(error)}") from error


def in_private_mounts(action: "Callable[[], T]") -> "T":
    """Do `action` in a thread with a mount namespace and a working directory of its own."""

    def isolated() -> "T":
        try:
            linux.unshare(linux.CLONE_NEWNS)
            linux.mount("none", "/", "none", linux.MS_REC | linux.MS_PRIVATE)
        except OSError as error:
            raise NoOverlay(f"cannot make a mount namespace: {reason(error)}") from error
        return action()

    return _in_thread(isolated)


def _in_thread(action: "Callable[[], T]") -> "T":
    results: list[T] = []
    errors: list[BaseException] = []
    done = allocate_lock()

    def run() -> None:
        try:
            results.append(action())
        except BaseException as error:  # raised again by the thread that waits for us
            errors.append(error)
        finally:
            done.release()

    done.acquire()
    start_new_thread(run, ())  # threading would be a tenth of what a pull takes when all is in the store
    done.acquire()
    if errors:
        raise errors[0]
    return results[0]


def _remove(path: str) -> None:
    here = os.open(".", _DIRECTORY)
    try:
        remove(path, here)
    finally:
        os.close(here)
