"""pyfetch [pull] IMAGE [BUNDLE] [-- ARGUMENT...]: make a bundle from an image.

An engine that has its own way to make bundles calls Pull.into_store() instead of run().
"""

from foundation.errors import one_line
from foundation.linux import os
from foundation.node import flaw_of
from pyfetch.bundle.bundle import Bundle, Maker, new_path
from pyfetch.bundle.overlay import NoOverlay, unpack_layers
from pyfetch.bundle.runtime_config import IdMappings, Settings
from pyfetch.errors import AuthError, NetworkError, NotFound, UsageError, attempt_all
from pyfetch.image.image import Image, Layer, Resolver, stored_image
from pyfetch.image.manifest import Descriptor
from pyfetch.image.platforms import parse_platform
from pyfetch.image.store import Store, check_space
from pyfetch.progress import Progress, open_progress
from pyfetch.sources.sources import places_of
from pyfetch.unpack.limits import Limits

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.image.document import Document
    from pyfetch.image.image import Source
    from pyfetch.options import Arguments
    from pyfetch.registry.access import Options
    from pyfetch.registry.credentials import Credentials
    from pyfetch.sources.downloads import Downloads


def run(arguments: "Arguments", store: Store, mappings: IdMappings) -> int:
    progress = open_progress(arguments.quiet, arguments.json)
    try:
        if arguments.no_bundle:
            _fetch_all(arguments, store, mappings, progress)
        else:
            print(Pull(arguments, store, mappings, progress).run())
    finally:
        progress.finish()
    return 0


def _fetch_all(arguments: "Arguments", store: Store, mappings: IdMappings, progress: Progress) -> None:
    """Fetch all images that the command line names, even if one of them fails; print their names."""
    if _settings(arguments).any():
        raise UsageError("--no-bundle: the options for a bundle and its container have no effect")
    login = None
    if arguments.username:
        from pyfetch.registry.access import Options

        login = Options.of(arguments).login  # standard input can be read only once

    def fetch(text: str) -> None:
        arguments.words = [text]
        pull = Pull(arguments, store, mappings, progress)
        pull.login = login
        print(pull.fetch(), flush=True)

    attempt_all(fetch, arguments.words)


class Pull:
    """One image, and the bundle that shall be made of it. `login` is for the registry, unless the options name one."""

    login: "Credentials | None" = None

    def __init__(self, arguments: "Arguments", store: Store, mappings: IdMappings, progress: Progress) -> None:
        self._arguments = arguments
        self._store = store
        self._mappings = mappings
        self._progress = progress
        self._places = places_of(arguments.words[0])
        self._place = self._places[0]
        self._platform = parse_platform(arguments.platform) if arguments.platform else None
        self._settings = _settings(arguments)
        self._source: Source | None = None
        self._name = ""
        self._is_new = False

    def run(self) -> str:
        """Make the bundle, or find that it exists; return its path."""
        named = self._arguments.words[1:]
        bundle = Bundle(os.path.abspath(named[0])) if named else None
        record = bundle.record() if bundle else None
        if bundle is not None and not os.path.isdir(os.path.dirname(bundle.path)):
            raise NotFound(f"{os.path.dirname(bundle.path)}: no such folder")
        image = self._image()
        path = bundle.path if bundle else new_path(self._store, self._name)
        self._register(path)
        if bundle is not None and record is not None:
            self._mount_again(image, bundle, record)
        else:
            self._make(image, path)
        self._report(image)
        return path

    def fetch(self) -> str:
        """Fetch the image, unpacked where bundles are overlays, and make no bundle; return its name."""
        if self._wants_overlay():
            self.into_store()
        else:
            image = self._image()
            self._fetch_absent(image)
            self._store.tag(self._name, image.top)
            self._report(image)
        return self._name

    def into_store(self, name: "Callable[[Image], str] | None" = None) -> Image:
        """Fetch the image, its unpacked layers and its name, or what `name` returns, into the store; make no bundle."""
        image = self._image()
        self._unpack_missing(image)
        self._fetch_absent(image)
        self._store.tag(name(image) if name else self._name, self._standing_for(image))
        self._report(image)
        return image

    def _standing_for(self, image: Image) -> Descriptor:
        """Return what the name shall lead to: not an index from which the store would choose another platform."""
        found = stored_image(self._store, image.top)
        return image.top if found is None or found.target.digest == image.target.digest else image.target

    def _fetch_absent(self, image: Image) -> None:
        """Fetch blobs that nothing has been unpacked from, because another image has the layer in another form.

        A bundle does without; who saves or sends the image does not.
        """
        absent = [layer for layer in image.layers if not self._store.has(layer.descriptor)]
        if absent and self._arguments.pull != "never":
            self._fetch(absent, self._store.path).wait()

    # The image.

    def _image(self) -> Image:
        """Resolve the image, at the first place that has it. Its layers may not be in the store yet."""
        for place in self._places[:-1]:
            self._place = place
            try:
                return self._image_here()
            except (NotFound, AuthError) as error:
                self._progress.note(f"{error}: trying the next registry")
                self._source = None
        self._place = self._places[-1]
        return self._image_here()

    def _image_here(self) -> Image:
        cached = self._cached()
        if cached is not None:
            return cached
        self._open_source()
        assert self._source is not None
        known = self._store.find(self._name)
        reference = self._place.reference
        if reference is not None and known is None:
            self._progress.missing(reference.familiar())
        try:
            top, data = self._source.top()
        except NetworkError as error:
            if known is None:
                raise
            raise NetworkError(f"{error}; to use the stored image, add --pull missing") from error
        if reference is not None:
            self._progress.pulling(reference.tag or reference.familiar(), reference.repository)
        self._is_new = known is None or known.digest != top.digest
        return self._resolver(self._source).resolve(top, data)

    def _cached(self) -> "Image | None":
        """Return the image if the store has all of it and --pull allows not to ask the source, else None."""
        reference = self._place.reference
        if reference is None:
            return None
        self._name = str(reference)
        known = self._store.find(self._name)
        policy = self._arguments.pull
        if reference.digest:
            known = known or Descriptor("", reference.digest, -1)
        if policy == "never" and known is None:
            raise NotFound(f"{reference.familiar()}: not in the store, and --pull never forbids fetching it")
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
            if not self._arguments.insecure_policy:
                from pyfetch.sources.policy import check_policy

                check_policy(self._place)
            self._source = self._place.open(self._store, self._options, self._progress.note)
            self._name = self._source.name

    def _options(self) -> "Options":
        from pyfetch.registry.access import Options

        options = Options.of(self._arguments, with_login=self.login is None)
        options.login = options.login or self.login
        return options

    def _resolver(self, source: "Source | None") -> Resolver:
        return Resolver(self._store, source, self._platform, self._progress.warn)

    # The bundle.

    def _mount_again(self, image: Image, bundle: Bundle, record: "Document") -> None:
        bundle.refuse_another(record, image)
        if self._settings.any() and not bundle.lacks_files():
            raise UsageError(f"{bundle.path}: exists already; to change its settings, edit its config.json")
        if bundle.is_overlay():
            maker = self._maker(image)
            self._unpack_missing(image, maker.check)
            self._store.tag(self._name, image.top)
            maker.mount_again(bundle)

    def _make(self, image: Image, path: str) -> None:
        maker = self._maker(image)
        if self._wants_overlay() and image.layers:
            try:
                fetched = self._unpack_missing(image, maker.check)
                self._store.tag(self._name, image.top)
                maker.make_overlay(path, durable=fetched)
                return
            except NoOverlay as error:
                if self._arguments.overlay:
                    raise
                self._progress.warn(f"{error}: making a copy instead (--copy avoids this warning)")
        maker.check()
        downloads = self._fetch(image.layers, os.path.dirname(path))
        maker.make_copy(path, downloads, self._limits())
        downloads.wait()
        self._store.tag(self._name, image.top)

    def _maker(self, image: Image) -> Maker:
        return Maker(self._store, image, self._name, self._settings, self._mappings, self._progress)

    def _limits(self) -> Limits:
        return Limits(self._arguments.max_size, self._arguments.max_files)

    def _unpack_missing(self, image: Image, check: "Callable[[], None]" = lambda: None) -> bool:
        """Unpack the layers that the store lacks, if `check` raises nothing; return whether there are any."""
        missing = [layer for layer in image.layers if not self._store.has_layer(layer.chain_id)]
        if missing:
            check()
            downloads = self._fetch(missing, self._store.layers)
            unpack_layers(self._store, image, downloads, self._limits(), self._progress)
        return bool(missing)

    def _fetch(self, layers: "list[Layer]", unpacked: str) -> "Downloads":
        """Start fetching those of `layers` that the store lacks, if there is space here and in folder `unpacked`."""
        from pyfetch.sources.downloads import Downloads

        absent = {d.digest: d.size for d in (layer.descriptor for layer in layers) if not self._store.has(d)}
        # An unpacked tree is at least as large as its archive.
        unpacked_size = sum(layer.descriptor.size for layer in layers)
        check_space([(self._store.path, sum(absent.values())), (unpacked, unpacked_size)])
        if any(layer.descriptor.media_type.endswith("zstd") for layer in layers):
            from pyfetch.unpack.compression import find_zstd

            find_zstd()  # raises before anything is downloaded in vain
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
        """Link a bundle outside the store into it, so that prune keeps its layers."""
        if os.path.dirname(path) == self._store.bundles:
            return
        from pyfetch.image.digest import digest_of

        link = os.path.join(self._store.bundles, digest_of(os.fsencode(path)).partition(":")[2][:32])
        try:
            os.symlink(path, link)
        except FileExistsError:
            pass  # of an earlier bundle at this path

    def _report(self, image: Image) -> None:
        self._progress.finish()
        reference = self._place.reference
        if reference is None:
            self._progress.line(one_line(f"Loaded image: {self._name}"))
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
    others = filter(None, (settings.entrypoint, settings.user, settings.workdir, settings.hostname))
    for text in (*settings.args, *settings.env, *others):
        if flaw_of(text):
            raise UsageError(f"{text[:100]!r}: not UTF-8, and config.json can hold nothing else")
    return settings


def _variable(entry: str) -> str:
    """Return NAME=VALUE. As with docker, NAME alone takes the value from our environment."""
    name, equals, _ = entry.partition("=")
    if not name:
        raise UsageError(f"--env: {entry!r}: expected NAME=VALUE or NAME")
    return entry if equals else f"{name}={os.environment.get(name, '')}"
