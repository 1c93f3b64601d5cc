"""An image in the form in which a registry gets it: layers that are made or loaded here are stored uncompressed."""

import zlib

from foundation.linux import os
from foundation.linux.opened import opened
from foundation.linux.unistd import syncfs
from pyfetch.image.image import stored_image
from pyfetch.image.manifest import DOCKER_LAYER, OCI_LAYER, Descriptor, oci_layer_type
from pyrund.build.image import store_manifest
from pyrund.build.layer import store_archive

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from concurrent.futures import Future
    from typing import Any

    from pyfetch.image.image import Image as Stored
    from pyfetch.image.image import Layer
    from pyfetch.image.store import Store

    Json = dict[str, Any]

_MEMBER = 4 << 20  # bytes
_GZIP = 31  # zlib's wbits; its header has no time and no name, so the same layer gives the same bytes


def outgoing(store: "Store", image: "Stored", name: str) -> Descriptor:
    """Return the manifest of the same image with layers that are compressed and in the store; `name` leads to it then.

    So the digest that the store knows is that of the registry, and the next push finds everything there. The config,
    and with it the image's id, is the same, and so are the unpacked layers. Raises NotFound.
    """
    top = image.target
    if not all(_is_ready(store, layer) for layer in image.layers):
        top = _with_others(store, image, _known(store))
        with opened(os.open(store.path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as disk:
            syncfs(disk)
    store.tag(name, top)
    return top


def _with_others(store: "Store", image: "Stored", known: "dict[str, Json]") -> Descriptor:
    """Store and return a manifest, as the image-spec has it, with other forms of those layers that are not ready."""
    layers = []
    for layer in image.layers:
        entry: Json | None = layer.descriptor.as_json() if _is_ready(store, layer) else known.get(layer.diff_id)
        if entry is None:
            entry = {**store_archive(store, _compressed(store, layer)), "mediaType": f"{OCI_LAYER}+gzip"}
        layers.append({**entry, "mediaType": oci_layer_type(entry["mediaType"])})
    config = image.manifest.config
    return store_manifest(store, config.digest, config.size, layers)


def _known(store: "Store") -> "dict[str, Json]":
    """Return the layers in the store that are ready, by the digests of what is in them."""
    found = {}
    for _, descriptor in store.images():
        image = stored_image(store, descriptor)
        for layer in image.layers if image else []:
            if _is_ready(store, layer):
                found[layer.diff_id] = layer.descriptor.as_json()
    return found


def _is_ready(store: "Store", layer: "Layer") -> bool:
    """Return whether the layer is compressed, and there: one that had been unpacked before was not fetched again."""
    return layer.descriptor.media_type not in (OCI_LAYER, DOCKER_LAYER) and store.has(layer.descriptor)


def _compressed(store: "Store", layer: "Layer") -> "Iterator[bytes]":
    """Yield the layer as members of a gzip file (RFC 1952, 2.2), so that all processors can work on it.

    Each member is of as many bytes, so the same layer gives the same file on any machine.
    """
    from concurrent.futures import ThreadPoolExecutor  # most pushes have nothing to compress

    plain = layer.descriptor if store.has(layer.descriptor) else Descriptor(OCI_LAYER, layer.diff_id, -1)
    reader = store.reader(plain)
    processors = len(os.sched_getaffinity(0))
    try:
        with ThreadPoolExecutor(processors) as pool:
            waiting: list[Future[bytes]] = []
            while data := reader.read(_MEMBER):
                waiting.append(pool.submit(_member, data))
                if len(waiting) > 2 * processors:
                    yield waiting.pop(0).result()
            for member in waiting:
                yield member.result()
    finally:
        reader.close()


def _member(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=_GZIP)
    return packer.compress(data) + packer.flush()
