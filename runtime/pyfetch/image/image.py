"""Finds an image: from its descriptor, through indexes, to manifest, config and layers for one platform."""

from foundation.errors import one_line
from pyfetch.errors import NotFound, VerificationError, WrongPlatform
from pyfetch.image.digest import digest_of
from pyfetch.image.document import Document
from pyfetch.image.manifest import (
    MAXIMUM_SIZE,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    is_foreign,
    is_index,
    read_manifest,
)
from pyfetch.image.platforms import Platform, host_platform
from pyfetch.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import Protocol

    class Source(Protocol):
        """Where an image comes from. `name` is its name in the store.

        `top` returns the descriptor that the name stands for now, and the document if that came with it. `document`
        verifies the digest; of what `blob` yields, from an offset on, the caller does. `distrust` stops using what gave
        wrong bytes, and returns whether something else is left.
        """

        name: str

        def top(self) -> "tuple[Descriptor, bytes | None]": ...
        def document(self, descriptor: Descriptor) -> bytes: ...
        def blob(self, descriptor: Descriptor, offset: int) -> "Iterator[bytes]": ...
        def distrust(self) -> bool: ...


_MAXIMUM_DEPTH = 4  # of indexes in indexes


class Layer:
    """A layer: the descriptor of its blob, the digest of the unpacked archive, and its ChainID."""

    def __init__(self, descriptor: Descriptor, diff_id: str, chain_id: str) -> None:
        self.descriptor = descriptor
        self.diff_id = diff_id
        self.chain_id = chain_id


class Image:
    """`top` is the descriptor that the name stands for, maybe an index; `target` is the platform's manifest."""

    def __init__(self, top: Descriptor, target: Descriptor, manifest: Manifest, config: ImageConfig) -> None:
        self.top = top
        self.target = target
        self.manifest = manifest
        self.config = config
        is_named = target.platform is not None and target.platform.os
        self.platform = target.platform if is_named else config.platform
        if len(config.diff_ids) != len(manifest.layers):
            raise VerificationError(
                f"manifest: {len(manifest.layers)} layers, but the config names {len(config.diff_ids)}: {target.digest}"
            )
        chains = chain_ids(config.diff_ids)
        self.layers = [Layer(*parts) for parts in zip(manifest.layers, config.diff_ids, chains)]


class Resolver:
    """Finds the image for a platform. `source` is None if only the store may be used."""

    def __init__(
        self, store: Store, source: "Source | None", platform: "Platform | None", warn: "Callable[[str], None]"
    ) -> None:
        self._store = store
        self._source = source
        self._platform = platform
        self._warn = warn

    def resolve(self, top: Descriptor, data: "bytes | None" = None) -> Image:
        """Return the image of `top`, whose document may be given as `data`. Manifests and config are stored."""
        if data is not None:
            self._store.write(top.digest, data)
        target, manifest = self._manifest(top, 0)
        config = ImageConfig(Document.decode(self._config(manifest.config), "config"))
        self._check_platform(target.platform, config.platform)
        for layer in manifest.layers:
            if is_foreign(layer):
                self._warn(f"{layer.digest}: a foreign layer, which the registry may lack; no other server is asked")
        return Image(top, target, manifest, config)

    def _manifest(self, descriptor: Descriptor, depth: int) -> "tuple[Descriptor, Manifest]":
        document = read_manifest(self._document(descriptor), descriptor.media_type)
        descriptor.media_type = document.media_type  # the document's own type, not the server's
        if isinstance(document, Manifest):
            return descriptor, document
        if depth == _MAXIMUM_DEPTH:
            raise VerificationError(f"more than {_MAXIMUM_DEPTH} nested indexes")
        return self._manifest(self._choose(document), depth + 1)

    def _choose(self, index: Index) -> Descriptor:
        nested = [m for m in index.manifests if m.platform is None and is_index(m)]
        wanted = self._platform or host_platform()
        try:
            chosen = choose([m for m in index.manifests if m not in nested], wanted)[0]
        except NotFound:
            if not nested:
                raise
            chosen = nested[0]
        if chosen.platform is not None and chosen.platform.architecture not in ("", wanted.architecture):
            self._warn(f"using the image for {chosen.platform}, which {wanted} can run if its kernel is built for it")
        return chosen

    def _document(self, descriptor: Descriptor) -> bytes:
        data = self._small_blob(descriptor, lambda source: source.document(descriptor))
        descriptor.size = len(data)
        return data

    def _config(self, descriptor: Descriptor) -> bytes:
        return self._small_blob(descriptor, lambda source: b"".join(source.blob(descriptor, 0)))

    def _small_blob(self, descriptor: Descriptor, fetch: "Callable[[Source], bytes]") -> bytes:
        """Return a verified manifest or config from the store, or `fetch` it and store it."""
        stored = self._store.read(descriptor, MAXIMUM_SIZE)
        if stored is not None:
            return stored
        if descriptor.size > MAXIMUM_SIZE:
            raise VerificationError(f"a manifest or config of {descriptor.size} bytes, more than {MAXIMUM_SIZE}")
        data = descriptor.data
        if data is None:
            if self._source is None:
                raise NotFound(f"{descriptor.digest}: not in the store")
            data = fetch(self._source)
        if digest_of(data, descriptor.digest.partition(":")[0]) != descriptor.digest:
            raise VerificationError(f"{descriptor.digest}: the content is not what the digest says")
        self._store.write(descriptor.digest, data)
        return data

    def _check_platform(self, promised: "Platform | None", found: Platform) -> None:
        """Compare the config's platform; if only the config names one, refuse with --platform, else warn as docker."""
        wanted = self._platform or host_platform()
        if found in wanted.fits():
            return
        if promised is not None and promised.os:
            if promised.architecture != found.architecture:
                self._warn(f"the index says that this is an image for {promised}, its config says {found}")
            return
        name = one_line(str(found), 60)
        if self._platform is not None:
            raise WrongPlatform(f"no matching manifest for {wanted}: the image exists for {name} only")
        self._warn(
            f"The requested image's platform ({name}) does not match the detected host platform ({wanted}) "
            "and no specific platform was requested"
        )


def choose(manifests: "list[Descriptor]", wanted: Platform) -> "list[Descriptor]":
    """Return the entries of an index that fit `wanted`, best first, or else those without a platform.

    image-index.md: "If multiple manifests match a client or runtime's requirements, the first matching entry SHOULD be
    used", hence the stable sort.
    """
    ranks = {platform: rank for rank, platform in enumerate(wanted.fits())}
    known = [m for m in manifests if m.platform in ranks]
    known.sort(key=lambda m: ranks[m.platform] if m.platform else 0)
    found = known or [m for m in manifests if m.platform is None or not m.platform.os]
    if not found:
        raise WrongPlatform(f"no matching manifest for {wanted} in the manifest list entries: {_offer(manifests)}")
    return found


def _offer(manifests: "list[Descriptor]") -> str:
    # BuildKit lists its attestations as unknown/unknown.
    names = dict.fromkeys(str(m.platform) for m in manifests if m.platform and m.platform.os != "unknown")
    return f"the image exists for {', '.join(names)}; choose one with --platform" if names else "the list is empty"


def stored_image(store: Store, top: Descriptor) -> "Image | None":
    """Return the image of `top` (for an index, its first stored manifest), or None if the store lacks it."""
    pending = [top]
    while pending:
        descriptor = pending.pop(0)
        data = store.read(descriptor, MAXIMUM_SIZE)
        if data is None:
            continue
        document = read_manifest(data, descriptor.media_type)
        if isinstance(document, Index):
            pending += document.manifests
            continue
        config = store.read(document.config, MAXIMUM_SIZE)
        if config is not None:
            return Image(top, descriptor, document, ImageConfig(Document.decode(config, "config")))
    return None


def chain_ids(diff_ids: "list[str]") -> "list[str]":
    """Return the ChainIDs (config.md, "Layer ChainID"): each names a layer together with all layers below."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(digest_of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return chains
