"""pyfetch [pull] IMAGE [BUNDLE] [-- ARGUMENT...]: an image becomes a bundle."""

import os
import sys

from pyfetch.bundle import Bundle, Maker, new_path
from pyfetch.errors import NetworkError, NotFound, UsageError
from pyfetch.image import Image, Layer, Resolver
from pyfetch.limits import Limits
from pyfetch.manifest import Descriptor
from pyfetch.overlay import NoOverlay, unpack_layers
from pyfetch.platforms import parse_platform
from pyfetch.progress import Progress, open_progress
from pyfetch.runtime_config import IdMappings, Settings
from pyfetch.sources import Place
from pyfetch.store import Store, check_space

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.downloads import Downloads, Source
    from pyfetch.options import Arguments
    from pyfetch.registry import Options


def run(arguments: "Arguments", store: Store, mappings: IdMappings) -> int:
    if bool(arguments.username) != arguments.password_stdin:
        raise UsageError("--username and --password-stdin go together: the password is read from standard input")
    progress = open_progress(arguments.quiet, arguments.json)
    try:
        print(_Pull(arguments, store, mappings, progress).run())
    finally:
        progress.finish()
    return 0


class _Pull:
    def __init__(self, arguments: "Arguments", store: Store, mappings: IdMappings, progress: Progress) -> None:
        self._arguments = arguments
        self._store = store
        self._mappings = mappings
        self._progress = progress
        self._place = Place(arguments.words[0])
        self._platform = parse_platform(arguments.platform) if arguments.platform else None
        self._settings = _settings(arguments)
        self._source: Source | None = None
        self._name = ""
        self._is_new = False

    def run(self) -> str:
        """Make the bundle, or find that it is there; return its path."""
        named = self._arguments.words[1:]
        bundle = Bundle(os.path.abspath(named[0])) if named else None
        record = bundle.record() if bundle else None
        if bundle is not None and not os.path.isdir(os.path.dirname(bundle.path)):
            raise NotFound(f"{os.path.dirname(bundle.path)}: no such folder")
        image = self._image()
        if bundle is not None and record is not None:
            if record.string("manifest") != image.target.digest:
                raise UsageError(f"{bundle.path}: holds another image; remove it first: pyfetch rm {bundle.path}")
            if self._settings.any():
                raise UsageError(f"{bundle.path}: exists already; to change its settings, edit its config.json")
            bundle.mount_again(self._store, record)
            self._report(image)
            return bundle.path
        path = bundle.path if bundle else new_path(self._store, self._name)
        self._make(image, path)
        self._register(path)
        self._report(image)
        return path

    # The image.

    def _image(self) -> Image:
        """Return the image, resolved; its layers may still have to come."""
        cached = self._cached()
        if cached is not None:
            return cached
        self._open_source()
        assert self._source is not None
        known = self._store.find(self._name)
        reference = self._place.reference
        if reference is not None and known is None:
            self._progress.line(f"Unable to find image '{reference.familiar()}' locally")
        try:
            top, data = self._source.top()
        except NetworkError as error:
            if known is None:
                raise
            raise NetworkError(f"{error}; to use the image of the last time, add --pull missing") from error
        if reference is not None:
            self._progress.line(f"{reference.tag or reference.familiar()}: Pulling from {reference.repository}")
        self._is_new = known is None or known.digest != top.digest
        return self._resolver(self._source).resolve(top, data)

    def _cached(self) -> "Image | None":
        """Return the image without asking anybody, where that is allowed and all of it is in the store."""
        reference = self._place.reference
        if reference is None:
            return None
        self._name = str(reference)
        known = self._store.find(self._name)
        policy = self._arguments.pull
        if reference.digest:
            known = known or Descriptor("", reference.digest, -1)
        if policy == "never" and known is None:
            raise NotFound(f"{reference.familiar()}: not in the store, and --pull never forbids to fetch it")
        if known is None or (policy == "always" and not reference.digest):
            return None
        try:
            image = self._resolver(None).resolve(known)
        except NotFound:
            if policy == "never":
                raise
            return None
        if any(not self._is_here(layer) for layer in image.layers):
            return None
        return image

    def _is_here(self, layer: Layer) -> bool:
        unpacked = self._wants_overlay() and self._store.has_layer(layer.chain_id)
        return unpacked or self._store.has(layer.descriptor)

    def _open_source(self) -> None:
        if self._source is None:
            self._source = self._place.open(self._store, self._options, self._progress.note)
            self._name = self._source.name

    def _options(self) -> "Options":
        from pyfetch.credentials import Credentials
        from pyfetch.registry import Options

        options = Options()
        options.authfile = self._arguments.authfile
        options.insecure = self._arguments.insecure
        options.timeout = self._arguments.timeout
        options.retries = self._arguments.retries
        if self._arguments.username:
            options.login = Credentials(self._arguments.username, sys.stdin.readline().rstrip("\n"))
        return options

    def _resolver(self, source: "Source | None") -> Resolver:
        return Resolver(self._store, source, self._platform, self._progress.warn)

    # The bundle.

    def _make(self, image: Image, path: str) -> None:
        maker = Maker(self._store, image, self._name, self._settings, self._mappings, self._progress)
        arguments = self._arguments
        limits = Limits(arguments.max_size, arguments.max_files)
        if self._wants_overlay() and image.layers:
            missing = [layer for layer in image.layers if not self._store.has_layer(layer.chain_id)]
            try:
                if missing:
                    maker.check()
                    downloads = self._fetch(missing, self._store.layers)
                    unpack_layers(self._store, image, downloads, limits, self._progress)
                self._store.tag(self._name, image.top)
                maker.make_overlay(path)
                return
            except NoOverlay as error:
                if arguments.overlay:
                    raise
                self._progress.warn(f"{error}: making a copy (--copy says so, and is silent)")
        maker.check()
        downloads = self._fetch(image.layers, os.path.dirname(path))
        maker.make_copy(path, downloads, limits)
        downloads.wait()
        self._store.tag(self._name, image.top)

    def _fetch(self, layers: "list[Layer]", unpacked: str) -> "Downloads":
        """Start to fetch what the store does not have of `layers`, which will be unpacked in the folder `unpacked`."""
        from pyfetch.downloads import Downloads

        absent = {d.digest: d.size for d in (layer.descriptor for layer in layers) if not self._store.has(d)}
        # An unpacked tree is at least as large as its archive.
        unpacked_size = sum(layer.descriptor.size for layer in layers)
        check_space([(self._store.path, sum(absent.values())), (unpacked, unpacked_size)])
        if any(layer.descriptor.media_type.endswith("zstd") for layer in layers):
            from pyfetch.compression import find_zstd

            find_zstd()  # raises before anything is downloaded that could not be unpacked
        for layer in layers:
            if layer.descriptor.digest in absent:
                self._progress.layer(layer.descriptor, "Pulling fs layer")
        if absent:
            self._open_source()
        blobs = [layer.descriptor for layer in layers]
        return Downloads(self._store, self._source, blobs, self._arguments.jobs, self._progress)

    def _wants_overlay(self) -> bool:
        return not self._arguments.copy and not self._mappings.uids

    def _register(self, path: str) -> None:
        """Leave a link to a bundle that is elsewhere, so that prune keeps its layers."""
        if os.path.dirname(path) == self._store.bundles:
            return
        from pyfetch.digest import digest_of

        link = os.path.join(self._store.bundles, digest_of(os.fsencode(path)).partition(":")[2][:32])
        if not os.path.islink(link):
            os.symlink(path, link)

    def _report(self, image: Image) -> None:
        self._progress.finish()
        reference = self._place.reference
        if reference is None:
            self._progress.line(f"Loaded image: {self._name}")
            return
        self._progress.line(f"Digest: {image.top.digest}")
        state = "Downloaded newer image" if self._is_new else "Image is up to date"
        self._progress.line(f"Status: {state} for {reference.familiar()}")


def _settings(arguments: "Arguments") -> Settings:
    settings = Settings()
    settings.args = arguments.arguments
    settings.entrypoint = arguments.entrypoint
    settings.env = [_variable(entry) for entry in arguments.env]
    settings.user = arguments.user
    settings.workdir = arguments.workdir
    settings.hostname = arguments.hostname
    settings.network = arguments.network
    settings.read_only = arguments.read_only
    settings.tty = arguments.tty
    if settings.workdir and not settings.workdir.startswith("/"):
        raise UsageError(f"--workdir: {settings.workdir!r}: expected an absolute path")
    return settings


def _variable(entry: str) -> str:
    """docker's rule: NAME alone passes on our own."""
    name, equals, _ = entry.partition("=")
    if not name:
        raise UsageError(f"--env: {entry!r}: expected NAME=VALUE or NAME")
    return entry if equals else f"{name}={os.environ.get(name, '')}"
