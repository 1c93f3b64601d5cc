"""pyfetch prune: remove from the store what no image and no bundle needs.

An image is kept while it has a name. `rm` removes the name, and a newer image takes it over. The store is locked
exclusively meanwhile. --all also removes images that no bundle uses, and the bundles in the store that no container
uses. --check removes nothing but what is damaged.
"""

from foundation.errors import Error, one_line
from foundation.linux import os
from foundation.sizes import human
from pyfetch.bundle.bundle import Bundle
from pyfetch.errors import UsageError, VerificationError, attempt_all
from pyfetch.image.image import stored_image
from pyfetch.image.store import LASTING_LOCKS, Store
from pyfetch.progress import Progress, open_progress
from pyfetch.unpack.removal import remove_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.image.document import Document
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    if arguments.check:
        _check(store, open_progress(quiet=True, as_json=False))
        return 0
    before = _free(store)
    steps = [_remove_bundles, _forget_images, remove_what_is_not_needed]
    attempt_all(lambda step: step(store), steps if arguments.all else steps[2:])
    print(f"Total reclaimed space: {human(max(0, _free(store) - before))}")
    return 0


def _check(store: Store, progress: Progress) -> None:
    from pyfetch.bundle.check import check

    damages = check(store, bundles(store), progress)
    for line in damages:
        print(one_line(line), flush=True)  # before the error
    if damages:
        raise VerificationError(f"damaged in the store: {len(damages)}")


def _forget_images(store: Store) -> None:
    used = {record.string("digest") for _, record in bundles(store)}
    for name, descriptor in store.images():
        if descriptor.digest not in used:
            store.untag(name)


def remove_what_is_not_needed(store: Store) -> None:
    """Remove blobs and layers that no image and no bundle needs. The store must be locked exclusively."""
    blobs, layers = _needed(store)
    for _, record in bundles(store):
        layers.update(record.strings("overlay"))
    for record in store.kept_records():
        blobs.update(record.strings("blobs"))
        layers.update(record.strings("layers"))
    half_made = [name for name in os.listdir(store.bundles) if name.startswith(".")]  # by processes that died
    attempt_all(remove_path, [os.path.join(store.bundles, name) for name in half_made])
    keep: dict[str, set[str]] = {"blobs/sha256": set(), "blobs/sha512": set(), "layers": layers, "partial": set()}
    keep["locks"] = LASTING_LOCKS  # who holds another one has the store's lock too
    for digest in blobs:
        algorithm, _, encoded = digest.partition(":")
        keep[f"blobs/{algorithm}"].add(encoded)
    attempt_all(lambda folder: _clear(os.path.join(store.path, folder), keep[folder]), keep)


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


def bundles(store: Store) -> "list[tuple[Bundle, Document]]":
    """Return every bundle with its image.json; remove links to bundles that are gone."""
    found = []
    for name in os.listdir(store.bundles):
        link = os.path.join(store.bundles, name)
        path = os.readlink(link) if os.path.islink(link) else link
        bundle = Bundle(path)
        try:
            record = bundle.record()
        except Error:
            record = None  # something else is there now
        if record is not None:
            found.append((bundle, record))
        elif os.path.islink(link):
            os.unlink(link)
    return found


def _remove_bundles(store: Store) -> None:
    def remove_bundle(name: str) -> None:
        path = os.path.join(store.bundles, name)
        if not name.startswith(".") and not os.path.islink(path):
            try:
                Bundle(path).remove(store)
            except UsageError:
                pass  # a container uses it

    attempt_all(remove_bundle, os.listdir(store.bundles))


def _clear(folder: str, keep: "set[str]") -> None:
    """Remove everything in `folder` except the names in `keep`."""
    attempt_all(remove_path, [os.path.join(folder, name) for name in os.listdir(folder) if name not in keep])


def _free(store: Store) -> int:
    status = os.statvfs(store.path)
    return status.f_bfree * status.f_frsize
