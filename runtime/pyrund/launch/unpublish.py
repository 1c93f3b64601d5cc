"""A worker that takes back the published ports of a container."""

from foundation.linux import os
from pyrund.launch import networks
from pyrund.net import bridge, table

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Take back what container `id` has; it may be nothing."""
    path = places.published(message["id"])
    if not os.path.exists(path):
        return
    with bridge.Lock(places.run):
        table.unpublish(networks.read(places, message["id"]))
        os.unlink(path)
