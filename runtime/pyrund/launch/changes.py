"""A worker that lists what a container has added, changed and deleted."""

from foundation.linux import os
from pyfetch.bundle import overlay
from pyfetch.image.store import Store
from pyrund.archive.changes import Comparison
from pyrund.launch.answer import send_json
from pyrund.model.container import existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Answer the request on the connection `descriptors[0]` with the changes, each directory before what is in it."""
    container = existing(places, message["id"])
    upper = f"{places.layer(container.id)}/upper"
    found: list[tuple[bytes, int]] = []
    if os.path.isdir(upper):
        layers = list(container.document["Layers"])
        found = overlay.with_view(Store(places.images), layers, lambda image: Comparison(image).of(upper))
    send_json(descriptors[0], [{"Path": os.fsdecode(path), "Kind": kind} for path, kind in found] or None)
