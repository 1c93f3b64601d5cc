"""A worker that gives an image another name."""

from pyrund.errors import ApiError
from pyrund.model.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    store = Store(places.images)
    store.open()
    descriptor = store.find(message["from"])
    if descriptor is None:
        raise ApiError(404, f"No such image: {message['from']}")
    store.tag(message["name"], descriptor)
