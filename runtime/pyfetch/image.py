"""An image: from a name through indexes to the manifest, the config and the layers of one platform."""

from pyfetch.digest import digest_of
from pyfetch.document import parse
from pyfetch.errors import NotFound, VerificationError, printable
from pyfetch.manifest import (
    MAXIMUM_SIZE,
    OCI_INDEX,
    OCI_MANIFEST,
    Descriptor,
    ImageConfig,
    Index,
    Manifest,
    is_foreign,
    read_manifest,
)
from pyfetch.platforms import Platform, choose, host_platform
from pyfetch.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyfetch.downloads import Source

_MAXIMUM_DEPTH = 4  # of indexes in indexes


class Layer:
    def __init__(self, descriptor: Descriptor, diff_id: str, chain_id: str) -> None:
        self.descriptor = descriptor
        self.diff_id = diff_id
        self.chain_id = chain_id


class Image:
    """`top` is what the name means, an index perhaps; `target` is the manifest of the chosen platform."""

    def __init__(self, top: Descriptor, target: Descriptor, manifest: Manifest, config: ImageConfig) -> None:
        self.top = top
        self.target = target
        self.manifest = manifest
        self.config = config
        if len(config.diff_ids) != len(manifest.layers):
            raise VerificationError(
                f"manifest: {len(manifest.layers)} layers, but the config names {len(config.diff_ids)}: {target.digest}"
            )
        chains = chain_ids(config.diff_ids)
        self.layers = [Layer(*parts) for parts in zip(manifest.layers, config.diff_ids, chains)]


class Resolver:
    """Finds the image for a platform. `source` is None where only the store may be asked."""

    def __init__(
        self, store: Store, source: "Source | None", platform: "Platform | None", warn: "Callable[[str], None]"
    ) -> None:
        self._store = store
        self._source = source
        self._platform = platform
        self._warn = warn

    def resolve(self, top: Descriptor, data: "bytes | None" = None) -> Image:
        """Return the image at `top`, whose bytes may be at hand already. What was fetched is kept in the store."""
        if data is not None:
            self._store.write(top.digest, data)
        target, manifest = self._manifest(top, 0)
        config = ImageConfig(parse(self._config(manifest.config), "config"))
        if not config.platform.os:
            raise VerificationError("config: os is required")
        self._check_platform(config.platform)
        for layer in manifest.layers:
            if is_foreign(layer):
                self._warn(f"{layer.digest}: a layer that may have to come from elsewhere; only the registry is asked")
        return Image(top, target, manifest, config)

    def _manifest(self, descriptor: Descriptor, depth: int) -> "tuple[Descriptor, Manifest]":
        document = read_manifest(self._document(descriptor), descriptor.media_type)
        kind = OCI_MANIFEST if isinstance(document, Manifest) else OCI_INDEX
        descriptor.media_type = descriptor.media_type or kind
        if isinstance(document, Manifest):
            return descriptor, document
        if depth == _MAXIMUM_DEPTH:
            raise VerificationError(f"more than {_MAXIMUM_DEPTH} indexes in each other")
        return self._manifest(self._choose(document), depth + 1)

    def _choose(self, index: Index) -> Descriptor:
        nested = [m for m in index.manifests if m.platform is None and "index" in m.media_type]
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
        """Return a manifest or config, verified, from the store or else by `fetch`; then it is kept in the store."""
        if self._store.has(descriptor):
            return self._store.read(descriptor, MAXIMUM_SIZE)
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

    def _check_platform(self, found: Platform) -> None:
        """An index has promised the platform; a plain manifest is what it is (docker warns in these words)."""
        wanted = self._platform or host_platform()
        if found in wanted.fits():
            return
        name = printable(str(found), 60)
        if self._platform is not None:
            raise NotFound(f"no matching manifest for {wanted}: the image exists for {name} only")
        self._warn(
            f"The requested image's platform ({name}) does not match the detected host platform ({wanted}) "
            "and no specific platform was requested"
        )


def stored_image(store: Store, top: Descriptor) -> "Image | None":
    """Return the image at `top` as far as the store has it: of an index, the first manifest that is there."""
    pending = [top]
    while pending:
        descriptor = pending.pop(0)
        if not store.has(descriptor):
            continue
        document = read_manifest(store.read(descriptor, MAXIMUM_SIZE), descriptor.media_type)
        if isinstance(document, Index):
            pending += document.manifests
        elif store.has(document.config):
            config = ImageConfig(parse(store.read(document.config, MAXIMUM_SIZE), "config"))
            return Image(top, descriptor, document, config)
    return None


def chain_ids(diff_ids: "list[str]") -> "list[str]":
    """config.md, "Layer ChainID": names a layer together with all below it."""
    chains: list[str] = []
    for diff_id in diff_ids:
        chains.append(digest_of(f"{chains[-1]} {diff_id}".encode()) if chains else diff_id)
    return chains
