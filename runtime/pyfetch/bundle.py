"""Bundles: a folder with config.json and rootfs, and image.json, which tells where it came from.

A bundle is made under another name and renamed. With an overlay, rootfs is a mount point:

    config.json image.json hosts hostname   (resolv.conf)
    rootfs/                                 the layers of the store with upper/ over them
    upper/ work/                            what the container writes
"""

import errno
import os

from pyfetch import linux, overlay
from pyfetch.digest import digest_of
from pyfetch.document import Document, parse, to_json
from pyfetch.errors import NotFound, UsageError, translate
from pyfetch.image import Image
from pyfetch.limits import Limits
from pyfetch.runtime_config import IdMappings, Settings, extra_files, runtime_config
from pyfetch.store import Store
from pyfetch.tree import remove
from pyfetch.users import User, find_user, needs_files

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.downloads import Downloads
    from pyfetch.progress import Progress

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_MAXIMUM_RECORD = 1 << 20


class Bundle:
    """A bundle at `path`, which may not be there yet."""

    def __init__(self, path: str) -> None:
        self.path = path
        self.rootfs = os.path.join(path, "rootfs")

    def record(self) -> "Document | None":
        """Return image.json, or None where nothing is; raise where there is something that is no bundle of ours."""
        try:
            with open(os.path.join(self.path, "image.json"), "rb") as file:
                return parse(file.read(_MAXIMUM_RECORD), f"{self.path}/image.json")
        except (FileNotFoundError, NotADirectoryError):
            if os.path.isdir(self.path) and not os.listdir(self.path):
                return None
            if os.path.lexists(self.path):
                raise UsageError(f"{self.path}: exists, and is no bundle of pyfetch: choose another name") from None
            return None

    def mount_again(self, store: Store, record: Document) -> None:
        """Mount the overlay of a bundle that was made before the machine was started anew."""
        layers = record.strings("overlay")
        if layers and not os.path.ismount(self.rootfs):
            overlay.mount_bundle(store, layers, self.path)

    def remove(self) -> None:
        """Take the bundle away, with all that its container has written."""
        user = _user_of(self.path)
        if user:
            raise UsageError(f"{self.path}: used by a container (process {user}): stop it first")
        if os.path.ismount(self.rootfs):
            linux.umount(self.rootfs)
        above = os.open(os.path.dirname(self.path), _DIRECTORY)
        try:
            # Renamed first: what is half removed must not look like a bundle.
            gone = f".{os.path.basename(self.path)}.{os.urandom(4).hex()}.gone"
            os.rename(self.path, gone, src_dir_fd=above, dst_dir_fd=above)
            remove(gone, above)
        finally:
            os.close(above)


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
        """Raise what is wrong with the image's config or the user's settings, before the layers are fetched."""
        user = self._user(lambda find: User())
        runtime_config(self._image.config, self._settings, user, self._mappings, self._progress.warn)

    def make_overlay(self, path: str) -> None:
        """Make a bundle on the layers that the store has."""
        layers = [self._store.layer_name(layer.chain_id) for layer in self._image.layers]
        user = self._user(lambda find: overlay.with_view(self._store, layers, find))

        def fill(new: str) -> None:
            for folder in ("upper", "work"):
                os.mkdir(os.path.join(new, folder), 0o755)
            # The upper directory's attributes are those of the container's root directory.
            overlay.copy_root(os.path.join(self._store.layers, layers[-1]), os.path.join(new, "upper"))
            self._write_files(new, user, layers)

        self._make(path, fill)
        try:
            overlay.mount_bundle(self._store, layers, path)
        except BaseException:
            Bundle(path).remove()
            raise

    def make_copy(self, path: str, downloads: "Downloads", limits: Limits) -> None:
        """Make a bundle with a tree of its own."""

        def fill(new: str) -> None:
            self._unpack(os.path.join(new, "rootfs"), downloads, limits)
            root = os.open(os.path.join(new, "rootfs"), _DIRECTORY)
            try:
                user = self._user(lambda find: find(root))
            finally:
                os.close(root)
            self._write_files(new, user, [])

        self._make(path, fill)

    def _make(self, path: str, fill: "Callable[[str], None]") -> None:
        """Make the folder `path`, filled by `fill` under another name; leave nothing if that fails."""
        above, name = os.path.split(path)
        folder = os.open(above, _DIRECTORY)
        lock = self._store.lock(_name_of_lock(path))
        try:
            new = f".{name}.new"
            remove(new, folder)  # left over by a process that died: we hold the lock
            os.mkdir(new, 0o700, dir_fd=folder)
            try:
                os.mkdir(os.path.join(new, "rootfs"), 0o755, dir_fd=folder)
                fill(os.path.join(above, new))
                os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)  # an empty folder is replaced
            except BaseException:
                remove(new, folder)
                raise
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                raise UsageError(f"{path}: exists already") from None
            raise translate(f"{path}: {error.strerror}", error) from error
        finally:
            os.close(lock)
            os.close(folder)

    def _unpack(self, rootfs: str, downloads: "Downloads", limits: Limits) -> None:
        from pyfetch.downloads import Restarted
        from pyfetch.unpack import unpack

        layers = self._image.layers
        done = 0
        while done < len(layers):
            descriptor = layers[done].descriptor
            root = os.open(rootfs, _DIRECTORY)
            try:
                reader = self._progress.extracting(descriptor, downloads.reader(descriptor))
                unpack(
                    reader,
                    layers[done].diff_id,
                    root,
                    limits,
                    single=self._mappings.single,
                    lower=done > 0,
                    warn=self._progress.warn,
                )
                self._progress.layer(descriptor, "Pull complete")
                done += 1
            except Restarted:  # what was unpacked of it is wrong, and cannot be told from what was there before
                done, limits = 0, Limits(limits.size, limits.files)
                remove(rootfs, root)
                os.mkdir(rootfs, 0o755)
            finally:
                os.close(root)

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
            "platform": str(image.config.platform),
            "overlay": layers,
        }
        files = {
            "config.json": to_json(config) + "\n",
            "image.json": to_json(record) + "\n",
            **extra_files(self._settings),
        }
        for name, text in files.items():
            mode = 0o600 if name.endswith(".json") else 0o644  # the others are the container's /etc/NAME
            path = os.path.join(folder, name)
            with open(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode), "wb") as file:
                file.write(text.encode("utf-8", "surrogateescape"))


def new_path(store: Store, name: str) -> str:
    """Return a path for a bundle that the user gave none for."""
    base = name.partition("@")[0].rstrip("/").rpartition("/")[2].partition(":")[0] or "image"
    return os.path.join(store.bundles, f"{base[:64]}-{os.urandom(4).hex()}")


def _user_of(path: str) -> str:
    """Return the pid of a process in another mount namespace that uses the bundle's root file system, or ""."""
    ours = os.readlink("/proc/self/ns/mnt")
    marks = (f"upperdir={path}/upper,", f" {path}/rootfs / ")
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/ns/mnt") == ours:
                continue
            with open(f"/proc/{pid}/mountinfo", encoding="utf-8", errors="surrogateescape") as file:
                text = file.read()
        except OSError:
            continue  # it has ended, or is not ours to look at
        if any(mark in text and _is_root(text, mark) for mark in marks):
            return pid
    return ""


def _is_root(mountinfo: str, mark: str) -> bool:
    """Tell whether the mount with `mark` is that process's root: mere copies of the host's mounts do not count."""
    return any(mark in line and line.split(" ")[4] == "/" for line in mountinfo.splitlines())


def _name_of_lock(path: str) -> str:
    return f"bundle-{digest_of(os.fsencode(path)).partition(':')[2]}"


def find_bundle(path: str) -> "tuple[Bundle, Document]":
    """Return the bundle that the user named, and its record."""
    bundle = Bundle(os.path.abspath(path))
    record = bundle.record()
    if record is None:
        raise NotFound(f"{path}: no such bundle")
    return bundle, record
