"""A worker that sends images to a registry and writes the progress to the client's connection itself."""

from foundation.errors import Error, reason
from foundation.linux import os
from pyfetch.commands.push import Push, announcement
from pyfetch.errors import NotFound
from pyfetch.image.image import stored_image
from pyfetch.image.manifest import Descriptor
from pyfetch.image.reference import parse_reference
from pyfetch.image.store import Store
from pyfetch.registry import endpoints
from pyfetch.registry.access import Options
from pyfetch.registry.auth import Unauthorized
from pyfetch.registry.destination import Destination
from pyfetch.sources.stored import Stored
from pyrund.build.outgoing import outgoing
from pyrund.launch.pull import login_of
from pyrund.launch.stream import Stream

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.image import Image
    from pyrund.messages import Message, Port
    from pyrund.places import Places

_JOBS = 5  # as dockerd's max-concurrent-uploads


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Send the images with the `names` in the store, and answer the request on the connection `descriptors[0]`.

    Tells the daemon whether that worked. Raises ApiError if no response has begun.
    """
    os.set_blocking(descriptors[0], True)
    endpoints.daemon_json = places.daemon_json
    options = Options()
    options.login = login_of(message["login"])
    store = Store(places.images)
    store.open()
    stream = _Stream(descriptors[0])
    is_pushed = False
    try:
        stream.line(announcement(parse_reference(message["repository"])))
        if not message["names"]:
            raise NotFound(message["missing"])
        for name in message["names"]:
            _push(store, name, options, stream)
        is_pushed = True
    except (Error, OSError) as error:
        stream.failed(error.words if isinstance(error, Unauthorized) else reason(error))
    stream.end()
    return {"is_pushed": is_pushed}


def _push(store: Store, name: str, options: Options, stream: "_Stream") -> None:
    reference = parse_reference(name)
    known = store.find(name)
    image = stored_image(store, known) if known else None
    if image is None:
        raise NotFound(f"tag does not exist: {reference.familiar()}")  # it was removed meanwhile
    top = outgoing(store, image, name)
    sent = stored_image(store, top)
    assert sent is not None
    stream.know(sent)
    Push(Stored(store, name, top), Destination(reference, options, stream.note), store, stream, _JOBS).run(top)


class _Stream(Stream):
    """Calls layers by what is in them, as docker does: their compressed form is not known at the beginning there."""

    def __init__(self, client: int) -> None:
        super().__init__(client)
        self._contents: dict[str, str] = {}

    def know(self, image: "Image") -> None:
        self._contents.update({layer.descriptor.digest: layer.diff_id for layer in image.layers})

    def layer(self, layer: Descriptor, state: str, position: int = 0) -> None:
        content = Descriptor("", self._contents.get(layer.digest, layer.digest), layer.size)
        super().layer(content, state, position)
