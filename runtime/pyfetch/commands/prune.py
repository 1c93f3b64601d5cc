"""pyfetch prune: remove from the store what no image and no bundle needs.

Images are what has a name; rm takes the name away, and so does a newer image of the same name. Nobody else uses the
store meanwhile: it is locked. With --all, images that no bundle uses go too, and bundles without a name of their own
(those in the store) that no container uses.
"""

import os

from pyfetch.bundle import Bundle
from pyfetch.errors import Error
from pyfetch.image import stored_image
from pyfetch.progress import human
from pyfetch.store import Store
from pyfetch.tree import remove

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.document import Document
    from pyfetch.options import Arguments
    from pyfetch.runtime_config import IdMappings


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    before = _free(store)
    if arguments.all:
        _remove_bundles(store)
    records = _records(store)
    if arguments.all:
        used = {record.string("digest") for record in records}
        for name, descriptor in store.images():
            if descriptor.digest not in used:
                store.untag(name)
    blobs, layers = _needed(store)
    for record in records:
        layers.update(record.strings("overlay"))
    _clear(os.path.join(store.path, "blobs/sha256"), {d.partition(":")[2] for d in blobs if d.startswith("sha256:")})
    _clear(os.path.join(store.path, "blobs/sha512"), {d.partition(":")[2] for d in blobs if d.startswith("sha512:")})
    _clear(store.layers, layers)
    _clear(os.path.join(store.path, "partial"), set())
    print(f"Total reclaimed space: {human(max(0, _free(store) - before))}")
    return 0


def _needed(store: Store) -> "tuple[set[str], set[str]]":
    """Return the digests and the folders of layers that images need."""
    blobs: set[str] = set()
    layers: set[str] = set()
    for _, descriptor in store.images():
        blobs.add(descriptor.digest)
        image = stored_image(store, descriptor)
        if image is not None:
            blobs |= {image.target.digest, image.manifest.config.digest}
            blobs |= {layer.descriptor.digest for layer in image.layers}
            layers |= {store.layer_name(layer.chain_id) for layer in image.layers}
    return blobs, layers


def _records(store: Store) -> "list[Document]":
    """Return image.json of every bundle; forget links to bundles that are gone."""
    found = []
    for name in os.listdir(store.bundles):
        link = os.path.join(store.bundles, name)
        path = os.readlink(link) if os.path.islink(link) else link
        try:
            record = Bundle(path).record()
        except Error:
            record = None  # something else is there now
        if record is not None:
            found.append(record)
        elif os.path.islink(link):
            os.unlink(link)
    return found


def _remove_bundles(store: Store) -> None:
    for name in os.listdir(store.bundles):
        path = os.path.join(store.bundles, name)
        if os.path.islink(path):
            continue
        try:
            if name.startswith("."):
                _clear(store.bundles, set(os.listdir(store.bundles)) - {name})
            else:
                Bundle(path).remove()
        except Error:
            continue  # a container uses it


def _clear(folder: str, keep: "set[str]") -> None:
    """Remove all that is in `folder` except what is to be kept."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for name in os.listdir(descriptor):
            if name not in keep:
                remove(name, descriptor)
    finally:
        os.close(descriptor)


def _free(store: Store) -> int:
    status = os.statvfs(store.path)
    return status.f_bfree * status.f_frsize
