"""A worker that fetches an image and writes the progress to the client's connection itself."""

import base64
import json
import time

from foundation.errors import Error, reason
from foundation.linux import os, whole_file
from pyfetch.bundle.runtime_config import IdMappings
from pyfetch.commands.pull import Pull
from pyfetch.errors import AuthError, NotFound, UsageError
from pyfetch.image.store import Store
from pyfetch.options import parse
from pyfetch.progress import JsonEvents
from pyfetch.registry import endpoints
from pyrund.errors import ApiError
from pyrund.http import response
from pyrund.launch.measure import size_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.image.image import Image
    from pyfetch.image.manifest import Descriptor
    from pyfetch.registry.credentials import Credentials
    from pyrund.messages import Message, Port
    from pyrund.places import Places

_INTERVAL = 0.1  # seconds between two events about the position in a layer


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Fetch `name` and answer the request on the connection `descriptors[0]`.

    Tells the daemon whether that worked. Raises ApiError if no response has begun.
    """
    client = descriptors[0]
    os.set_blocking(client, True)
    store = Store(places.images)
    store.open()
    endpoints.daemon_json = places.daemon_json
    login = _login(message["login"])
    platform = ["--platform", message["platform"]] if message["platform"] else []
    stream = _Stream(client)
    is_pulled = False
    try:
        pull = Pull(parse(["pull", *platform, message["name"]]), store, IdMappings([], []), stream)
        pull.login = login
        image = pull.into_store()
        note_sizes(places, store, image)
        is_pulled = True
    except (Error, OSError) as error:
        if not stream.has_begun:
            raise _in_dockers_words(error) from error
        stream.event({"errorDetail": {"message": reason(error)}, "error": reason(error)})
    stream.write(response.LAST_CHUNK)
    return {"is_pulled": is_pulled}


class _Stream(JsonEvents):
    """Progress as chunks of the response, which begins with the first event: until then the status may be an error."""

    def __init__(self, client: int) -> None:
        super().__init__(self._send)
        self._client = client
        self.has_begun = False
        self._shown: dict[str, tuple[str, float]] = {}  # digest -> (state, when it was shown)

    def missing(self, name: str) -> None:
        """Say nothing: the client has said so."""

    def note(self, text: str) -> None:
        """Tell of retries, but not before the image is found."""
        if self.has_begun:
            super().note(text)

    def pulling(self, version: str, repository: str) -> None:
        self.event({"status": f"Pulling from {repository}", "id": version})

    def layer(self, layer: "Descriptor", state: str, position: int = 0) -> None:
        before, when = self._shown.get(layer.digest, ("", 0.0))
        if state == "Extracting" and before in ("Downloading", "Verifying Checksum"):
            return  # both run at once: show the download, which unpacking waits for
        if state == before and time.monotonic() < when + _INTERVAL:
            return
        self._shown[layer.digest] = state, time.monotonic()
        super().layer(layer, state, position)

    def _send(self, text: str) -> None:
        if not self.has_begun:
            self.has_begun = True
            self.write(response.head(200, {"Content-Type": response.JSON, "Transfer-Encoding": "chunked"}))
        self.write(response.chunk(text.encode("utf-8", "replace")))

    def write(self, data: bytes) -> None:
        try:
            whole_file.write_all(self._client, data)
        except OSError:
            os._exit(1)  # the client has gone; what was downloaded is kept for the next time


def _login(header: str) -> "Credentials | None":
    """Return the credentials of X-Registry-Auth, a JSON object in base64url."""
    if not header:
        return None
    try:
        given = json.loads(base64.urlsafe_b64decode(header + "=" * (-len(header) % 4)))
        user, password, token = (str(given.get(name) or "") for name in ("username", "password", "identitytoken"))
    except (ValueError, AttributeError):
        raise ApiError(400, "X-Registry-Auth: expected a JSON object in base64url") from None
    if not (user or token):
        return None
    from pyfetch.registry.credentials import Credentials

    return Credentials(user, password, token, str(given.get("registrytoken") or ""))


def _in_dockers_words(error: "Error | OSError") -> ApiError:
    text = reason(error)
    if isinstance(error, UsageError):
        return ApiError(400, text)
    return ApiError(404 if isinstance(error, (AuthError, NotFound)) else 500, text)


def note_sizes(places: "Places", store: Store, image: "Image") -> None:
    """Note how much each layer of the image takes when it is unpacked, for lists of images."""
    os.makedirs(places.sizes, 0o700, exist_ok=True)
    for layer in image.layers:
        name = store.layer_name(layer.chain_id)
        path = f"{places.sizes}/{name}"
        if not os.path.exists(path):
            whole_file.put(path, b"%d" % size_of(f"{store.layers}/{name}"), f"{path}.{os.getpid()}")
