"""A worker that makes an image of what a container has written."""

import time

from foundation.linux import os
from pyfetch.image.image import stored_image
from pyrund.build import settings
from pyrund.build.errors import BuildError
from pyrund.build.image import Draft
from pyrund.build.layer import write_layer
from pyrund.errors import ApiError
from pyrund.launch import new_image
from pyrund.model import health
from pyrund.model.container import existing
from pyrund.model.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Return the id of the new image of container `id`, whose own image the store finds as `image`."""
    container = existing(places, message["id"])
    store = Store(places.images)
    store.open()
    descriptor = store.find(message["image"])
    image = stored_image(store, descriptor) if descriptor else None
    if image is None:
        raise ApiError(404, f"No such image: {container.document['Image']}")
    known = (message["config"], container.config)
    config = {name: next((one[name] for one in known if one.get(name)), None) for name in settings.FIELDS}
    try:
        settings.change(config, message["changes"])
        config["Healthcheck"] = health.merged(config, container.config)  # a change may set a part of it
    except BuildError as error:
        raise ApiError(400, str(error)) from None
    base, upper = Draft.of(image), f"{places.layer(container.id)}/upper"
    layer = write_layer(store, base, upper) if os.path.isdir(upper) else None
    history = {"created_by": " ".join(container.config["Cmd"] or []), "author": message["author"]}
    if message["comment"]:
        history["comment"] = message["comment"]
    made = base.with_step(config, history, time.time_ns(), layer, message["author"])
    new_image.keep(places, store, made, message["names"])
    return {"image": made.id}
