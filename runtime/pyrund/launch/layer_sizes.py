"""How much each layer takes when it is unpacked, which lists of images show: a file for each, beside the store."""

from foundation.linux import os, whole_file
from pyrund.launch.measure import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.image import Image
    from pyfetch.image.store import Store
    from pyrund.places import Places


def note(places: "Places", store: "Store", image: "Image") -> None:
    """Note the sizes of the layers of the image, which are in the store."""
    os.makedirs(places.sizes, 0o700, exist_ok=True)
    for layer in image.layers:
        name = store.layer_name(layer.chain_id)
        path = f"{places.sizes}/{name}"
        if not os.path.exists(path):
            whole_file.put(path, b"%d" % size_of(f"{store.layers}/{name}"), f"{path}.{os.getpid()}")


def clear(places: "Places", store: "Store") -> None:
    """Forget the sizes of layers that the store has no longer. The store must be locked exclusively."""
    if os.path.exists(places.sizes):
        for name in set(os.listdir(places.sizes)).difference(os.listdir(store.layers)):
            os.unlink(f"{places.sizes}/{name}")
