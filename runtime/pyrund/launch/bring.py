"""A worker that makes an image of a client's archive of files, and answers the request: `docker import`."""

import json
import time

from foundation.errors import Error, reason
from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.image.platforms import parse_platform
from pyfetch.image.store import Store
from pyfetch.unpack.compression import decompressed
from pyrund.build import settings
from pyrund.build.errors import BuildError
from pyrund.build.image import Draft
from pyrund.build.layer import store_archive
from pyrund.errors import ApiError
from pyrund.http.body import Body
from pyrund.http.response import JSON
from pyrund.launch import new_image
from pyrund.launch.answer import Answer

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.messages import Message, Port
    from pyrund.places import Places

    Json = dict[str, Any]


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Read the archive from the connection `descriptors[0]`; return the id of the image. Raises ApiError."""
    os.set_blocking(descriptors[0], True)
    config: Json = {}
    try:
        settings.change(config, message["changes"])
        platform = parse_platform(message["platform"]) if message["platform"] else None
    except (BuildError, UsageError) as error:
        raise ApiError(400, str(error)) from None
    store = Store(places.images)
    store.open()
    try:
        pieces = decompressed(iter(Body(descriptors[0], message["body"])), of_docker=True)
        layer = store_archive(store, pieces)
        made = Draft.empty(platform).with_step(config, {"comment": message["comment"]}, time.time_ns(), layer)
        new_image.keep(places, store, made, message["names"])
    except Error as error:
        raise ApiError(400, f"the archive: {reason(error).partition('layer: ')[2] or reason(error)}") from error
    answer = Answer(descriptors[0])
    answer.begin({"Content-Type": JSON})
    answer.write(json.dumps({"status": made.id}, separators=(",", ":")).encode() + b"\r\n")
    answer.end()
    return {"image": made.id}
