"""Indexes, manifests and configs, OCI's and docker's schema 2 alike.

Source: image-spec 1.1, image-index.md, manifest.md, config.md; docker's manifest-v2-2 differs in names of types only.
"""

from binascii import a2b_base64

from foundation.node import SIZE
from pyfetch.errors import VerificationError
from pyfetch.image.digest import check_digest, digest_of
from pyfetch.image.document import Document
from pyfetch.image.platforms import Platform

OCI_INDEX = "application/vnd.oci.image.index.v1+json"
OCI_MANIFEST = "application/vnd.oci.image.manifest.v1+json"
OCI_CONFIG = "application/vnd.oci.image.config.v1+json"
OCI_LAYER = "application/vnd.oci.image.layer.v1.tar"
DOCKER_LIST = "application/vnd.docker.distribution.manifest.list.v2+json"
DOCKER_MANIFEST = "application/vnd.docker.distribution.manifest.v2+json"
DOCKER_CONFIG = "application/vnd.docker.container.image.v1+json"
DOCKER_LAYER = "application/vnd.docker.image.rootfs.diff.tar"

_KINDS = {OCI_INDEX: "index", DOCKER_LIST: "index", OCI_MANIFEST: "image", DOCKER_MANIFEST: "image"}
# What old versions of docker and some registries have written for an image's config (distribution #1621, moby #22378).
_CONFIG_TYPES = (OCI_CONFIG, DOCKER_CONFIG)
_UNTYPED = ("application/octet-stream", "application/json", "text/html", "")
ACCEPT = ", ".join((OCI_INDEX, OCI_MANIFEST, DOCKER_LIST, DOCKER_MANIFEST))

# distribution-spec: clients should accept manifests of at least 4 MiB, and larger ones do not occur.
MAXIMUM_SIZE = 4 << 20
MAXIMUM_LAYERS = 500  # overlayfs can stack no more; docker builds at most 127

_LAYER_TYPES = (
    OCI_LAYER,
    "application/vnd.oci.image.layer.nondistributable.v1.tar",
    DOCKER_LAYER,
    "application/vnd.docker.image.rootfs.foreign.diff.tar",
)
_COMPRESSIONS = ("", "+gzip", "+zstd", ".gzip", ".zstd")


class Descriptor:
    """A pointer to a blob. `size` is -1 if only the digest is known; `data` is the blob itself, or None."""

    def __init__(self, media_type: str, digest: str, size: int) -> None:
        self.media_type = media_type
        self.digest = digest
        self.size = size
        self.data: bytes | None = None
        self.platform: Platform | None = None
        self.annotations: dict[str, str] = {}

    def as_json(self) -> "dict[str, object]":
        """Return the descriptor without platform, annotations and data."""
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size}


class Index:
    """A list of manifests, or of other indexes, for different platforms."""

    def __init__(self, document: Document, media_type: str) -> None:
        self.media_type = media_type
        self.manifests = [read_descriptor(entry) for entry in document.objects("manifests")]


class Manifest:
    """The config and the layers of an image for one platform; raise VerificationError for an artifact."""

    def __init__(self, document: Document, media_type: str) -> None:
        self.media_type = media_type
        self.config = read_descriptor(document.object("config"))
        self.layers = [read_descriptor(layer) for layer in document.objects("layers")]
        kind = document.string("artifactType") or self.config.media_type
        if self.config.media_type not in _CONFIG_TYPES and kind not in _UNTYPED:
            raise VerificationError(f"this is an artifact ({kind}), not an image: there is nothing to run in it")
        if len(self.layers) > MAXIMUM_LAYERS:
            raise document.error("layers", f"{len(self.layers)} layers, more than {MAXIMUM_LAYERS}")
        for layer in self.layers:
            _check_layer_type(layer.media_type)


class Pointers:
    """What a manifest or an index points to, be it of an image or of an artifact.

    Foreign layers are left out: a registry need not have them.
    """

    def __init__(self, data: bytes, media_type: str) -> None:
        document = Document.decode(data, "manifest")
        _, self.media_type = _kind_of(document, media_type)
        self.manifests = [read_descriptor(entry) for entry in document.objects("manifests")]
        self.config = [read_descriptor(document.object("config"))] if document.has("config") else []
        layers = [read_descriptor(layer) for layer in document.objects("layers")]
        self.layers = [layer for layer in layers if not is_foreign(layer)]


class ImageConfig:
    """The image's config. `settings` is its inner `config` object: what the image wants to run, and how."""

    def __init__(self, document: Document) -> None:
        self.document = document
        self.platform = read_platform(document)
        self.platform.os = self.platform.os or "linux"  # as with docker: old builders leave it out
        self.settings = document.object("config")
        rootfs = document.object("rootfs")
        if rootfs.string("type") not in ("", "layers"):
            raise rootfs.error("type", f"{rootfs.string('type')!r} is not 'layers'")
        self.diff_ids = [check_digest(diff_id, "config: rootfs.diff_ids") for diff_id in rootfs.strings("diff_ids")]


def read_descriptor(document: Document) -> Descriptor:
    """Return a checked descriptor; raise VerificationError."""
    digest = check_digest(document.required_string("digest"), f"{document.path}digest")
    descriptor = Descriptor(document.string("mediaType"), digest, document.integer("size", SIZE))
    descriptor.annotations = document.text_map("annotations")
    if document.has("platform"):
        descriptor.platform = read_platform(document.object("platform"))
    if document.has("data"):
        descriptor.data = _embedded(document, descriptor)
    return descriptor


def read_platform(document: Document) -> Platform:
    return Platform(document.string("os"), document.string("architecture"), document.string("variant"))


def read_manifest(data: bytes, media_type: str) -> "Index | Manifest":
    """Parse `data`; raise VerificationError. `media_type` is from the descriptor or the server, or ""."""
    document = Document.decode(data, "manifest")
    kind, known_type = _kind_of(document, media_type)
    return Index(document, known_type) if kind == "index" else Manifest(document, known_type)


def _kind_of(document: Document, media_type: str) -> "tuple[str, str]":
    """Return "index" or "image", and the media type, whatever the server says."""
    if document.properties.get("schemaVersion") == 1:
        raise VerificationError("manifest: schema 1 is no longer supported by any tool; push the image again")
    own_type = document.string("mediaType")
    known_type = own_type if own_type in _KINDS else media_type if media_type in _KINDS else ""
    kinds = {_KINDS[t] for t in (own_type, media_type) if t in _KINDS}
    kinds |= {"index"} if document.has("manifests") else set()
    kinds |= {"image"} if document.has("layers") or document.has("config") else set()
    if len(kinds) > 1:
        # CVE-2021-41190: the same bytes must not be an index for one reader and an image for another. Types that are
        # wrong in other ways do no harm, and are common.
        raise VerificationError("manifest: both an index and an image")
    if kinds == {"index"}:
        return "index", known_type or OCI_INDEX
    if kinds == {"image"}:
        return "image", known_type or OCI_MANIFEST
    raise VerificationError(f"manifest: neither an index nor an image: {own_type or media_type or 'no mediaType'}")


def _embedded(document: Document, descriptor: Descriptor) -> bytes:
    try:
        data = a2b_base64(document.string("data"))
    except ValueError as error:
        raise document.error("data", f"not base64: {error}") from None
    algorithm = descriptor.digest.partition(":")[0]
    if len(data) != descriptor.size or digest_of(data, algorithm) != descriptor.digest:
        raise document.error("data", "is not what digest and size say")
    return data


def _check_layer_type(media_type: str) -> None:
    for layer_type in _LAYER_TYPES:
        if media_type.startswith(layer_type) and media_type[len(layer_type) :] in _COMPRESSIONS:
            return
    raise VerificationError(f"layers of type {media_type or 'unknown'} cannot be unpacked")


def oci_layer_type(media_type: str) -> str:
    """Return the image-spec's type for a layer that may have docker's: other clients refuse a manifest with both."""
    if not media_type.startswith(DOCKER_LAYER):
        return media_type
    return OCI_LAYER + media_type[len(DOCKER_LAYER) :].replace(".", "+")


def is_index(descriptor: Descriptor) -> bool:
    return _KINDS.get(descriptor.media_type) == "index"


def is_foreign(layer: Descriptor) -> bool:
    """Return whether the layer's type says that it may not be in the registry."""
    return "nondistributable" in layer.media_type or "foreign" in layer.media_type
