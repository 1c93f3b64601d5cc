"""A worker that removes names of images, and then what no image and no container needs any more."""

from pyfetch.commands import prune
from pyfetch.image.store import Store
from pyrund.launch import layer_sizes

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Remove the `names`, answer, and go on: the rest waits until nobody fetches an image."""
    store = Store(places.images)
    store.open()
    for name in message["names"]:
        store.untag(name)
    answers.send({})
    store.close()
    store.open(exclusive=True)
    prune.remove_what_is_not_needed(store)
    layer_sizes.clear(places, store)
