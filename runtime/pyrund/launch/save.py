"""A worker that gives a client images as an archive."""

from pyfetch.commands import save
from pyfetch.image.image import stored_image
from pyfetch.image.store import Store
from pyrund.errors import ApiError
from pyrund.launch.answer import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Answer the request on the connection `descriptors[0]`; `images` are (a name in the store, names to write)."""
    store = Store(places.images)
    store.open()
    images = []
    for known, names in message["images"]:
        descriptor = store.find(known)
        image = stored_image(store, descriptor) if descriptor else None
        if image is None or not all(store.has(layer) for layer in image.manifest.layers):
            raise ApiError(404, f"No such image: {known}: not all of it is in the store; pull it again")
        images.append((image, names))
    answer = Answer(descriptors[0])
    answer.begin({"Content-Type": "application/x-tar"})
    save.write(answer, store, images)
    answer.end()
