"""Indexes, manifests and configs, OCI's and docker's schema 2 alike.

Source: image-spec 1.1, image-index.md, manifest.md, config.md; docker's manifest-v2-2 differs in names of types only.
"""

from binascii import a2b_base64

from pyfetch.digest import check_digest, digest_of
from pyfetch.document import Document, parse
from pyfetch.errors import VerificationError
from pyfetch.platforms import Platform

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"

INDEX_TYPES = (OCI_INDEX, DOCKER_LIST)
MANIFEST_TYPES = (OCI_MANIFEST, DOCKER_MANIFEST)
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))

# distribution-spec: clients should accept manifests of at least 4 MiB, and nobody's are larger.
MAXIMUM_SIZE = 4 << 20
MAXIMUM_LAYERS = 500  # overlayfs can stack no more; docker builds at most 127

_LAYER_TYPES = (
    "application/vnd.oci.image.layer.v1.tar",
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    "application/vnd.docker.image.rootfs.diff.tar",
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_COMPRESSIONS = ("", "+gzip", "+zstd", ".gzip", ".zstd")


class Descriptor:
    """A pointer to a blob. `size` is -1 where only the digest is known; `data` is the blob itself, or None."""

    def __init__(self, media_type: str, digest: str, size: int) -> None:
        self.media_type = media_type
        self.digest = digest
        self.size = size
        self.data: bytes | None = None
        self.platform: Platform | None = None
        self.annotations: dict[str, str] = {}

    def as_json(self) -> "dict[str, object]":
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


class Index:
    def __init__(self, document: Document) -> None:
        self.manifests = [read_descriptor(entry) for entry in document.objects("manifests")]


class Manifest:
    def __init__(self, document: Document) -> None:
        self.config = read_descriptor(document.object("config"))
        self.layers = [read_descriptor(layer) for layer in document.objects("layers")]
        if self.config.media_type not in (OCI_CONFIG, DOCKER_CONFIG):
            kind = document.string("artifactType") or self.config.media_type
            raise VerificationError(f"this is an artifact ({kind}), not an image: there is nothing to run in it")
        if len(self.layers) > MAXIMUM_LAYERS:
            raise document.wrong("layers", f"{len(self.layers)} layers, more than {MAXIMUM_LAYERS}")
        for layer in self.layers:
            _check_layer_type(layer.media_type)


class ImageConfig:
    """The image's config. `settings` is its inner `config` object: what the image wants to run, and how."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.platform = read_platform(document)
        self.settings = document.object("config")
        rootfs = document.object("rootfs")
        if rootfs.string("type") not in ("", "layers"):
            raise rootfs.wrong("type", f"{rootfs.string('type')!r} is not 'layers'")
        self.diff_ids = [check_digest(diff_id, "config: rootfs.diff_ids") for diff_id in rootfs.strings("diff_ids")]


def read_descriptor(document: Document) -> Descriptor:
    digest = check_digest(document.required_string("digest"), f"{document.path}digest")
    descriptor = Descriptor(document.string("mediaType"), digest, document.integer("size"))
    descriptor.annotations = document.string_map("annotations")
    if document.has("platform"):
        descriptor.platform = read_platform(document.object("platform"))
    if document.has("data"):
        descriptor.data = _embedded(document, descriptor)
    return descriptor


def read_platform(document: Document) -> Platform:
    return Platform(document.string("os"), document.string("architecture"), document.string("variant"))


def read_manifest(data: bytes, media_type: str) -> "Index | Manifest":
    """Return what the bytes `data` say; `media_type` is what descriptor or server called them, or ""."""
    document = parse(data, "manifest")
    if document.properties.get("schemaVersion") == 1:
        raise VerificationError("manifest: schema 1 is no longer supported by any tool; push the image again")
    # CVE-2021-41190: the same bytes must not be an index for one reader and a manifest for another.
    if document.has("manifests") and (document.has("layers") or document.has("config")):
        raise VerificationError("manifest: both an index and an image")
    own_type = document.string("mediaType")
    if own_type and media_type and own_type != media_type:
        raise VerificationError(f"manifest: says it is {own_type}, but was announced as {media_type}")
    kind = own_type or media_type
    if kind in INDEX_TYPES and (document.has("layers") or document.has("config")):
        raise VerificationError("manifest: an image that says it is an index")
    if kind in INDEX_TYPES or (kind not in MANIFEST_TYPES and document.has("manifests")):
        return Index(document)
    if kind in MANIFEST_TYPES or document.has("layers"):
        return Manifest(document)
    raise VerificationError(f"manifest: neither an index nor an image: {kind or 'no mediaType'}")


def _embedded(document: Document, descriptor: Descriptor) -> bytes:
    try:
        data = a2b_base64(document.string("data"))
    except ValueError as error:
        raise document.wrong("data", f"not base64: {error}") from None
    algorithm = descriptor.digest.partition(":")[0]
    if len(data) != descriptor.size or digest_of(data, algorithm) != descriptor.digest:
        raise document.wrong("data", "is not what digest and size say")
    return data


def _check_layer_type(media_type: str) -> None:
    for layer_type in _LAYER_TYPES:
        if media_type.startswith(layer_type) and media_type[len(layer_type) :] in _COMPRESSIONS:
            return
    raise VerificationError(f"layers of type {media_type or 'unknown'} cannot be unpacked")


def is_foreign(layer: Descriptor) -> bool:
    return "nondistributable" in layer.media_type or "foreign" in layer.media_type
