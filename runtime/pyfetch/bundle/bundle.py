"""Bundles: a folder with config.json and rootfs, and image.json, which records its origin.

A bundle is made under a temporary name, written to the disk and renamed. With an overlay, rootfs is a mount point:

    config.json image.json hosts hostname   (resolv.conf)
    rootfs/                                 the layers of the store with upper/ over them
    upper/ work/                            what the container writes

A pull that fetches nothing does not wait for the disk, which could take longer than all the rest. If power fails in the
half minute until the kernel writes files by itself, those that we wrote may be empty. Such a bundle is not mounted any
more, and whoever mounts it again makes these files again.
"""

import errno

from foundation import interrupts
from foundation.encode import encode
from foundation.linux import os
from foundation.linux.mount import MNT_DETACH, umount2
from pyfetch.bundle import overlay
from pyfetch.bundle.runtime_config import IdMappings, Settings, extra_files, runtime_config, volumes
from pyfetch.bundle.users import User, find_user, needs_files
from pyfetch.errors import NotFound, UsageError, VerificationError, translate
from pyfetch.image.digest import digest_of
from pyfetch.image.document import Document
from pyfetch.image.image import Image
from pyfetch.image.store import Store
from pyfetch.unpack.limits import Limits
from pyfetch.unpack.removal import remove, remove_path
from pyfetch.unpack.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from foundation.linux.mountinfo import Mounted
    from pyfetch.progress import Progress
    from pyfetch.sources.downloads import Downloads

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


class Bundle:
    """A bundle at `path`, which need not exist yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rootfs = os.path.join(path, "rootfs")

    def record(self) -> "Document | None":
        """Return image.json, or None if nothing is at the path; raise UsageError for anything but our bundle.

        The record is empty if a loss of power has emptied the file.
        """
        try:
            source = f"{self.path}/image.json"
            data = Document.read(source, source)
            return Document.decode(data, source) if data else Document({}, f"{source}: ")
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isdir(self.path) and not os.listdir(self.path):
                return None
            if os.path.lexists(self.path):
                raise UsageError(f"{self.path}: exists, and is not a bundle of pyfetch: choose another name") from None
            return None

    def refuse_another(self, record: "Document", image: Image) -> None:
        """Raise UsageError if `record` is that of another image."""
        if record.string("manifest", image.target.digest) != image.target.digest:
            raise UsageError(f"{self.path}: holds another image; remove it first: pyfetch rm {self.path}")

    def is_used(self) -> bool:
        """Return whether the bundle is mounted, here or in a container."""
        return os.path.ismount(self.rootfs) or bool(_user_of(self.path))

    def is_overlay(self) -> bool:
        return os.path.isdir(os.path.join(self.path, "upper"))

    def lacks_files(self) -> bool:
        """Return whether a loss of power has emptied files that we wrote."""
        return not all(map(self._has, ("config.json", "image.json")))

    def _has(self, name: str) -> bool:
        try:
            return os.stat(os.path.join(self.path, name)).st_size > 0
        except FileNotFoundError:
            return False

    def remove(self, store: Store) -> None:
        """Remove the bundle with all that its container wrote; raise UsageError if a container uses it."""
        user = _user_of(self.path)
        if user:
            raise UsageError(f"{self.path}: used by a container (process {user}): stop it first")
        lock = self.lock(store)
        try:
            if os.path.ismount(self.rootfs):
                umount2(os.fsencode(self.rootfs), MNT_DETACH)
            _remove_as_a_whole(self.path)
        except FileNotFoundError:
            raise NotFound(f"{self.path}: another process has removed it") from None
        finally:
            os.close(lock)

    def lock(self, store: Store) -> int:
        """Lock out other processes that make, mount or remove a bundle at this path, until the descriptor is closed."""
        return store.lock(f"bundle-{digest_of(os.fsencode(self.path)).partition(':')[2]}")


class Maker:
    """Makes one bundle of `image`."""

    def __init__(
        self, store: Store, image: Image, name: str, settings: Settings, mappings: IdMappings, progress: "Progress"
    ) -> None:
        self._store = store
        self._image = image
        self._name = name
        self._settings = settings
        self._mappings = mappings
        self._progress = progress
        settings.hostname = settings.hostname or os.urandom(6).hex()  # twelve digits, as docker's

    def check(self) -> None:
        """Raise errors of the image's config or the user's settings, before layers are fetched."""
        user = self._user(lambda find: User())
        runtime_config(self._image.config, self._settings, user, self._mappings, self._progress.warn)

    def make_overlay(self, path: str, *, durable: bool) -> None:
        """Make a bundle on the layers that the store has; `durable`: wait until the disk has it."""
        layers = self._layers()
        user = self._user_in(layers)

        def fill(new: str) -> None:
            for folder in ("upper", "work"):
                os.mkdir(os.path.join(new, folder), 0o755)
            # The upper directory's attributes are those of the container's root directory.
            overlay.copy_root(os.path.join(self._store.layers, layers[-1]), os.path.join(new, "upper"))
            self._write_files(new, user, layers)

        self._make(path, fill, lambda: self._mount(path, layers), durable)

    def mount_again(self, bundle: Bundle) -> None:
        """Mount the overlay again if a reboot has unmounted it; make files again that a loss of power has emptied."""
        layers = self._layers()
        lock = bundle.lock(self._store)
        try:
            record = bundle.record()  # again: it may be another one since we looked, or none
            if record is None:
                raise NotFound(f"{bundle.path}: another process has removed it")
            bundle.refuse_another(record, self._image)
            if not os.path.ismount(bundle.rootfs):
                if bundle.lacks_files():
                    self._write_files(bundle.path, self._user_in(layers), layers)
                self._mount(bundle.path, layers)
        finally:
            os.close(lock)

    def _mount(self, path: str, layers: "list[str]") -> None:
        rootfs = os.path.join(path, "rootfs")
        mask = interrupts.hold()  # the thread that mounts would go on while an interruption is undone
        try:
            overlay.mount_bundle(self._store, layers, path)
        except BaseException:
            interrupts.release(mask)
            raise
        try:
            interrupts.release(mask)
            root = os.open(rootfs, _DIRECTORY)
            try:
                self._make_volumes(root)
            finally:
                os.close(root)
        except BaseException:
            umount2(os.fsencode(rootfs), MNT_DETACH)
            raise

    def make_copy(self, path: str, downloads: "Downloads", limits: Limits) -> None:
        """Make a bundle with a flat root file system of its own."""

        def fill(new: str) -> None:
            root = self._unpack(os.path.join(new, "rootfs"), downloads, limits)
            try:
                user = self._user(lambda find: find(root))
                self._make_volumes(root)
            finally:
                os.close(root)
            self._write_files(new, user, [])

        self._make(path, fill, lambda: None, durable=True)

    def _make(self, path: str, fill: "Callable[[str], None]", finish: "Callable[[], None]", durable: bool) -> None:
        """Make the folder `path`: `fill` it under another name, then `finish` it; leave nothing if that fails."""
        above, name = os.path.split(path)
        folder = os.open(above, _DIRECTORY)
        lock = Bundle(path).lock(self._store)
        try:
            made = f".{name}.new"
            for left_over in (made, f".{name}.gone"):  # of a process that died: we hold the lock
                remove(left_over, folder)
            try:
                os.mkdir(made, 0o700, dir_fd=folder)
                os.mkdir(os.path.join(made, "rootfs"), 0o755, dir_fd=folder)
                fill(os.path.join(above, made))
                if durable:
                    from foundation.linux.unistd import syncfs

                    syncfs(folder)
                os.rename(made, name, src_dir_fd=folder, dst_dir_fd=folder)  # an empty folder is replaced
                if durable:
                    os.fsync(folder)
                try:
                    finish()
                except BaseException:
                    os.rename(name, made, src_dir_fd=folder, dst_dir_fd=folder)
                    raise
            except BaseException:
                remove(made, folder)
                raise
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise UsageError(f"{path}: exists already") from None
            raise translate(f"{path}: {error.strerror}", error) from error
        finally:
            os.close(lock)
            os.close(folder)

    def _unpack(self, rootfs: str, downloads: "Downloads", limits: Limits) -> int:
        """Unpack all layers; return a descriptor of the root, whose mode may keep us from opening it again."""
        from pyfetch.sources.downloads import Restarted

        while True:
            root = os.open(rootfs, _DIRECTORY)
            try:
                for number in range(len(self._image.layers)):
                    self._unpack_layer(number, root, downloads, limits)
                return root
            except Restarted:  # wrong bytes were unpacked, and cannot be told apart from the layers below
                limits = Limits(limits.size, limits.files)
                remove_path(rootfs)
                os.close(root)
                os.mkdir(rootfs, 0o755)
            except BaseException:
                os.close(root)
                raise

    def _unpack_layer(self, number: int, root: int, downloads: "Downloads", limits: Limits) -> None:
        from pyfetch.unpack.unpack import unpack

        layer = self._image.layers[number]
        reader = self._progress.extracting(layer.descriptor, downloads.reader(layer.descriptor))
        single, warn = self._mappings.single, self._progress.warn
        unpack(reader, layer.diff_id, root, limits, single=single, lower=number > 0, warn=warn)
        self._progress.layer(layer.descriptor, "Pull complete")

    def _make_volumes(self, root: int) -> None:
        """Make the directories of the image's volumes that it lacks."""
        for path in volumes(self._image.config.settings):
            try:
                with Tree(root) as tree:
                    tree.resolve(os.fsencode(path[1:]), make=True)
            except (NotADirectoryError, VerificationError):
                pass  # a file or a dangling link is there: it stays as the image has it

    def _layers(self) -> "list[str]":
        return [self._store.layer_name(layer.chain_id) for layer in self._image.layers]

    def _user_in(self, layers: "list[str]") -> User:
        return self._user(lambda find: overlay.with_view(self._store, layers, find))

    def _user(self, look: "Callable[[Callable[[int], User]], User]") -> User:
        text = self._settings.user or self._image.config.settings.string("User")
        if not needs_files(text):
            return find_user(text, -1)
        return look(lambda root: find_user(text, root))

    def _write_files(self, folder: str, user: User, layers: "list[str]") -> None:
        image = self._image
        config = runtime_config(image.config, self._settings, user, self._mappings, self._progress.warn)
        record = {
            "name": self._name,
            "digest": image.top.digest,
            "manifest": image.target.digest,
            "platform": str(image.platform),
            "overlay": layers,
        }
        files = {
            "config.json": encode(config) + "\n",
            "image.json": encode(record) + "\n",
            **extra_files(self._settings),
        }
        for name, text in files.items():
            mode = 0o600 if name.endswith(".json") else 0o644  # the others are the container's /etc/NAME
            path = os.path.join(folder, name)
            flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
            with open(os.open(path, flags, mode), "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))


def _remove_as_a_whole(path: str) -> None:
    """Remove the folder `path` under another name: a half-removed tree must not look like a bundle.

    The caller holds the bundle's lock, and so what is there under that name was left by a process that died.
    """
    above, name = os.path.split(path)
    gone = os.path.join(above, f".{name}.gone")
    remove_path(gone)
    os.rename(path, gone)
    remove_path(gone)


def new_path(store: Store, name: str) -> str:
    """Return a new path in the store for a bundle of the image `name`."""
    base = name.partition("@")[0].rstrip("/").rpartition("/")[2].partition(":")[0] or "image"
    return os.path.join(store.bundles, f"{base[:64]}-{os.urandom(4).hex()}")


def _user_of(path: str) -> str:
    """Return the pid of a process in another mount namespace whose root directory is the bundle's, or ""."""
    from foundation.linux.mountinfo import mounts  # only `rm` and `prune` need it

    ours = os.readlink("/proc/self/ns/mnt")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") != ours and any(_is_root(path, mounted) for mounted in mounts(pid)):
                return pid
        except OSError:
            continue  # the process has ended, or we may not look at it
    return ""


def _is_root(bundle: str, mounted: "Mounted") -> bool:
    is_bundles = mounted.root == f"{bundle}/rootfs" or f"upperdir={bundle}/upper" in mounted.options
    return mounted.path == "/" and is_bundles  # elsewhere it is a copy of the host's mount


def find_bundle(path: str) -> "tuple[Bundle, Document]":
    """Return the bundle at `path` and its record; raise NotFound."""
    bundle = Bundle(os.path.abspath(path))
    record = bundle.record()
    if record is None:
        raise NotFound(f"{path}: no such bundle")
    return bundle, record
