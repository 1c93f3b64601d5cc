"""A worker that begins the uplink of a rootless engine again: the last one has ended while it was needed."""

from pyrund import uplink
from pyrund.process import NETWORK, UPLINK

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Answer with whether there is one now."""
    return {"is_begun": uplink.begin(NETWORK, UPLINK, places.run)}
