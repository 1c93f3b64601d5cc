"""pyfetch images: what is in the store."""

from pyfetch.digest import short
from pyfetch.image import stored_image
from pyfetch.progress import human
from pyfetch.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.options import Arguments
    from pyfetch.runtime_config import IdMappings


def run(arguments: "Arguments", store: Store, _: "IdMappings") -> int:
    rows = [("IMAGE", "DIGEST", "PLATFORM", "SIZE")]
    for name, descriptor in store.images():
        image = stored_image(store, descriptor)
        size = human(sum(layer.size for layer in image.manifest.layers)) if image else "incomplete"
        rows.append((name, short(descriptor.digest), str(image.config.platform) if image else "", size))
    widths = [max(len(row[column]) for row in rows) for column in range(4)]
    for row in rows:
        print("   ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip())
    return 0
