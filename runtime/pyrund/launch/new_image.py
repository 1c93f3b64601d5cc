"""An image that was made here: into the store, with its unpacked layers, its sizes and its names."""

from pyfetch.bundle.overlay import unpack_layers
from pyfetch.progress import Progress
from pyfetch.sources.downloads import Downloads
from pyfetch.unpack.limits import Limits
from pyrund.build.image import Draft, store_draft
from pyrund.launch import layer_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.image import Image as Stored
    from pyrund.model.store import Store
    from pyrund.places import Places

_MOST_BYTES, _MOST_FILES = 1 << 50, 1 << 30  # it is the user's own


def keep(places: "Places", store: "Store", draft: Draft, names: "list[str]") -> None:
    """Make the draft an image like any other, whose layers are in the store as archives at least."""
    stored = unpack(store, draft)
    layer_sizes.note(places, store, stored)
    for name in names:
        store.tag(name, stored.top)
    store.keep(stored.top)


def unpack(store: "Store", draft: Draft) -> "Stored":
    """Unpack the layers of the draft that the store has as archives alone; return its image, which has no name yet."""
    stored = store_draft(store, draft)
    if all(store.has_layer(layer.chain_id) for layer in stored.layers):
        return stored
    progress = Progress(lambda text: None)
    downloads = Downloads(store, None, [layer.descriptor for layer in stored.layers], 1, progress)
    unpack_layers(store, stored, downloads, Limits(_MOST_BYTES, _MOST_FILES), progress)
    return stored
