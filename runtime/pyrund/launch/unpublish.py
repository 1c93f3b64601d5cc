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
    if os.path.exists(places.published(message["id"])):
        with bridge.Lock(places.run):
            take_back(places, message["id"])


def take_back(places: "Places", id_: str) -> None:
    """Take back the ports of the container; whoever calls this has the lock. Raises OSError."""
    table.unpublish(places.table, networks.read(places, id_))
    if os.path.exists(places.published(id_)):
        os.unlink(places.published(id_))
