"""Layers unpacked once, on top of each other, by the kernel's overlay file system.

Each layer was unpacked into an overlay over the layers below it. So the kernel has made its whiteouts, opaque
directories and copies of hard links' targets, and unpack/layer.py serves flat trees and stacks alike.

    thread "unpack" (in a mount namespace of its own, so its mounts end with the process)
        .NAME.new            becomes layers/NAME when it is complete
        .NAME.work/merged    .NAME.new over the layers below
"""

from _thread import allocate_lock, start_new_thread

from foundation import overlayfs
from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.mount import MNT_DETACH, MS_PRIVATE, MS_RDONLY, MS_REC, mount, umount2
from foundation.linux.sched import CLONE_FS, CLONE_NEWNS, unshare
from foundation.rootless import has_one_id, rootless
from pyfetch.image.image import Image, Layer
from pyfetch.image.store import Store, publish
from pyfetch.unpack.limits import Limits
from pyfetch.unpack.removal import remove_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeVar

    from pyfetch.progress import Progress
    from pyfetch.sources.downloads import Downloads

    T = TypeVar("T")

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_LONGEST_NAMES = 3000  # bytes of mount(2)'s page of options that lower directories may take


class NoOverlay(Error):
    """Overlays cannot be used on this system or file system."""


def unpack_layers(store: Store, image: Image, downloads: "Downloads", limits: Limits, progress: "Progress") -> None:
    """Unpack every layer of `image` that the store lacks."""

    def unpack_all(names: "list[str]") -> None:
        for number, layer in enumerate(image.layers):
            if store.has_layer(layer.chain_id):
                progress.layer(layer.descriptor, "Already exists")
                continue
            lock = store.lock(store.layer_name(layer.chain_id))
            try:
                if not store.has_layer(layer.chain_id):  # another process may just have made it
                    unpack_layer(store, names[:number], layer, downloads, limits, progress, publish)
                progress.layer(layer.descriptor, "Pull complete")
            finally:
                os.close(lock)

    folders = [store.layer_name(layer.chain_id) for layer in image.layers]
    in_private_mounts(lambda: with_short_names(store, folders, unpack_all))


def unpack_layer(
    store: Store,
    below: "list[str]",
    layer: Layer,
    downloads: "Downloads",
    limits: Limits,
    progress: "Progress",
    finish: "Callable[[str, str], None]",
) -> None:
    """Unpack `layer` over the layers `below`, and call `finish` with the path where it is and that of its name."""
    from foundation.linux.unistd import syncfs  # imported only if there is something to unpack
    from pyfetch.sources.downloads import Restarted
    from pyfetch.unpack.unpack import unpack

    name = store.layer_name(layer.chain_id)
    layers = os.path.relpath(store.layers)  # relative: overlayfs cannot parse some characters of the store's path
    new, work = f"{layers}/.{name}.new", f"{layers}/.{name}.work"
    disk = os.open(layers, _DIRECTORY)  # before the first write: syncfs() reports the errors since then
    try:
        while True:
            root = _prepare(new, work, below)
            try:
                reader = progress.extracting(layer.descriptor, downloads.reader(layer.descriptor))
                unpack(reader, layer.diff_id, root, limits, single=has_one_id(), lower=bool(below), warn=progress.warn)
                break
            except Restarted:
                limits = Limits(limits.size, limits.files)
            finally:
                os.close(root)
                if below:
                    umount2(os.fsencode(f"{work}/merged"), MNT_DETACH)
        remove_path(work)
        syncfs(disk)  # once for all files: fsync(2) of each would take a journal commit each
        finish(new, f"{layers}/{name}")  # last: with this name the layer counts as complete
    finally:
        os.close(disk)
        remove_path(work)
        remove_path(new)


def _prepare(new: str, work: str, below: "list[str]") -> int:
    """Return a descriptor of the directory to unpack into: `new` itself, or an overlay of it over the layers below."""
    for left_over in (new, work):  # of a process that died: we hold the layer's lock
        remove_path(left_over)
    for folder in (new, work, f"{work}/work", f"{work}/merged"):
        os.mkdir(folder, 0o755)
    if not below:
        return os.open(new, _DIRECTORY)
    copy_root(below[-1], new)
    mount_over(below[::-1], new, f"{work}/work", f"{work}/merged")
    return os.open(f"{work}/merged", _DIRECTORY)


def copy_root(source: str, target: str) -> None:
    """Copy the attributes of the lower layer's root, which the new root hides without having to repeat them."""
    status = os.stat(source)
    os.chown(target, status.st_uid, status.st_gid)
    os.chmod(target, status.st_mode & 0o7777)
    for name in os.listxattr(source):
        if not name.startswith(overlayfs.PREFIXES):
            os.setxattr(target, name, os.getxattr(source, name))
    os.utime(target, ns=(status.st_mtime_ns, status.st_mtime_ns))


def mount_bundle(store: Store, image_layers: "list[str]", bundle: str) -> None:
    """Mount the layers (bottom first) at BUNDLE/rootfs, with BUNDLE/upper as the writable one."""

    def mount_layers() -> None:
        unshare(CLONE_FS)  # gives this thread its own working directory
        paths = (os.path.join(bundle, name) for name in ("upper", "work", "rootfs"))
        with_short_names(store, image_layers, lambda names: mount_over(names[::-1], *paths))

    _in_thread(mount_layers)


def with_view(store: Store, image_layers: "list[str]", look: "Callable[[int], T]") -> "T":
    """Call `look` with a descriptor of the merged root of the layers (bottom first); return its result.

    A layer may also be the absolute path of a directory, such as the upper one of a container.
    """

    def mount_and_look(names: "list[str]") -> "T":
        where = names[-1]
        if len(names) > 1:
            where = store.bundles  # any directory can be the mount point in this namespace
            options = f"lowerdir={':'.join(names[::-1])},{_attributes()}"
            mount(b"overlay", os.fsencode(where), b"overlay", MS_RDONLY, os.fsencode(options))
        root = os.open(where, _DIRECTORY)
        try:
            return look(root)
        finally:
            os.close(root)

    return in_private_mounts(lambda: with_short_names(store, image_layers, mount_and_look))


def with_short_names(store: Store, folders: "list[str]", action: "Callable[[list[str]], T]") -> "T":
    """Call `action` with names of the store's layers `folders`, relative to the working directory.

    mount(2) takes all its options in one page. If there are many layers, their names are short links, as with docker;
    the kernel follows them only during the call.
    """
    if len(":".join(folders)) < _LONGEST_NAMES:
        os.chdir(store.layers)
        return action(folders)
    links = os.path.join(store.path, "partial", os.urandom(8).hex())
    os.mkdir(links, 0o700)
    try:
        os.chdir(links)
        names = [f"{number:x}" for number in range(len(folders))]
        for name, folder in zip(names, folders):
            os.symlink(os.path.join("../../layers", folder), name)  # the layer may not exist yet
        return action(names)
    finally:
        remove_path(links)


def mount_over(lower: "list[str]", upper: str, work: str, target: str) -> None:
    """Mount the directories `lower` (top first) at `target`, with `upper` as the writable one. Raises NoOverlay."""
    for path in (upper, work):
        if set(path) & set(",:\\"):
            raise NoOverlay(f"{path}: the path of an overlay cannot hold a comma, a colon or a backslash")
    # Turn off the features that would make a layer unusable without its mount, or for other kernels.
    features = f"index=off,metacopy=off,xino=off,{_attributes()}"
    options = f"lowerdir={':'.join(lower)},upperdir={upper},workdir={work},{features}"
    try:
        mount(b"overlay", os.fsencode(target), b"overlay", 0, os.fsencode(options))
    except OSError as error:
        raise NoOverlay(f"cannot mount an overlay: {reason(error)}") from error


def _attributes() -> str:
    """Return the options about overlayfs's own attributes. With userxattr the kernel takes no redirect_dir but this."""
    return f"{overlayfs.OPTION},redirect_dir=nofollow" if rootless() else "redirect_dir=off"


def in_private_mounts(action: "Callable[[], T]") -> "T":
    """Call `action` in a thread with its own mount namespace and working directory; return its result."""

    def isolated() -> "T":
        try:
            unshare(CLONE_NEWNS)
            mount(None, b"/", None, MS_REC | MS_PRIVATE)
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
        except BaseException as error:  # raised again in the thread that waits
            errors.append(error)
        finally:
            done.release()

    done.acquire()
    start_new_thread(run, ())  # importing threading takes a tenth of a pull from the store
    done.acquire()
    if errors:
        raise errors[0]
    return results[0]
