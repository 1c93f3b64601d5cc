"""A worker that makes an image of an archive of files, and answers the request: `docker import`."""

import select
import time
from _thread import start_new_thread

from foundation.errors import Error, reason
from foundation.linux import os
from pyfetch.errors import UsageError
from pyfetch.image.platforms import parse_platform
from pyfetch.unpack.compression import decompressed
from pyrund.build import settings
from pyrund.build.errors import BuildError
from pyrund.build.image import Draft
from pyrund.build.layer import store_archive
from pyrund.errors import ApiError
from pyrund.http.body import Body
from pyrund.launch import new_image
from pyrund.launch.stream import Stream
from pyrund.model.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import Any

    from pyfetch.image.platforms import Platform
    from pyrund.launch.download import Download
    from pyrund.messages import Message, Port
    from pyrund.places import Places

    Json = dict[str, Any]


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Read the archive from the connection `descriptors[0]`, or from the address `url`; return the id of the image.

    It is "" if that failed after the response had begun. Raises ApiError before.
    """
    os.set_blocking(descriptors[0], True)
    config: Json = {}
    try:
        settings.change(config, message["changes"])
        platform = parse_platform(message["platform"]) if message["platform"] else None
    except (BuildError, UsageError) as error:
        raise ApiError(400, str(error)) from None
    if platform and platform.os != "linux":
        raise ApiError(400, "operating system is not supported")
    stream, made = Stream(descriptors[0], closes=True), ""
    try:
        made = _make(places, message, _archive(message, descriptors[0], stream), config, platform)
        stream.line(made)
    except (ApiError, Error, OSError) as error:
        failed = _in_words(error)
        if not stream.has_begun:
            raise failed from error
        stream.failed(str(failed))
    stream.end()
    return {"image": made}


def _archive(message: "Message", client: int, stream: Stream) -> "Iterator[bytes]":
    if not message["url"]:
        return iter(Body(client, message["body"]))
    from pyrund.launch.download import Download  # urllib is large, and few archives have an address

    watch = _Watch(client)
    download = Download(message["url"])
    stream.line(f"Downloading from {download.url}")
    return _shown(download, stream, watch)


class _Watch:
    """Ends the worker when the client goes: the server may be slow, and nobody waits for what it sends."""

    def __init__(self, client: int) -> None:
        self.is_over = False  # after the end of the response, the client may go
        start_new_thread(self._run, (client,))

    def _run(self, client: int) -> None:
        waiting = select.poll()
        waiting.register(client, select.POLLRDHUP)
        waiting.poll()
        if not self.is_over:
            os._exit(1)


def _shown(download: "Download", stream: Stream, watch: _Watch) -> "Iterator[bytes]":
    position = 0
    try:
        for piece in download:
            position += len(piece)
            stream.moved("Importing", position, download.size)
            yield piece
    finally:
        watch.is_over = True


def _make(
    places: "Places", message: "Message", archive: "Iterator[bytes]", config: "Json", platform: "Platform | None"
) -> str:
    """Make the image; return its id."""
    store = Store(places.images)
    store.open()
    layer = store_archive(store, decompressed(archive, of_docker=True))
    made = Draft.empty(platform).with_step(config, {"comment": message["comment"]}, time.time_ns(), layer)
    new_image.keep(places, store, made, message["names"])
    return made.id


def _in_words(error: "ApiError | Error | OSError") -> ApiError:
    if isinstance(error, ApiError):
        return error
    if isinstance(error, OSError):
        return ApiError(500, reason(error))
    return ApiError(400, f"the archive: {reason(error).partition('layer: ')[2] or reason(error)}")
