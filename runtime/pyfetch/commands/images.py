"""pyfetch images: list the images in the store."""

from foundation.sizes import human
from pyfetch.image.digest import short
from pyfetch.image.image import stored_image
from pyfetch.image.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.bundle.runtime_config import IdMappings
    from pyfetch.options import Arguments


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    rows = [("IMAGE", "DIGEST", "PLATFORM", "SIZE")]
    for name, descriptor in store.images():
        image = stored_image(store, descriptor)
        size = human(sum(layer.size for layer in image.manifest.layers)) if image else "incomplete"
        rows.append((name, short(descriptor.digest), str(image.platform) if image else "", size))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("   ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    return 0
