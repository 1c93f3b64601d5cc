"""A worker that fetches an image and writes the progress to the client's connection itself."""

from foundation.errors import Error, reason
from foundation.linux import os
from pyfetch.bundle.runtime_config import IdMappings
from pyfetch.commands.pull import Pull
from pyfetch.errors import AuthError, NotFound, UsageError
from pyfetch.image.platforms import parse_platform
from pyfetch.image.reference import parse_reference
from pyfetch.options import parse
from pyfetch.registry import endpoints
from pyfetch.registry.access import Options
from pyfetch.registry.registry import Registry
from pyrund.errors import ApiError
from pyrund.http.request import decode_header
from pyrund.launch import layer_sizes
from pyrund.launch.stream import Stream
from pyrund.model.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyfetch.registry.credentials import Credentials
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Fetch `name`, or `all` tags of its repository, and answer the request on the connection `descriptors[0]`.

    Tells the daemon whether that worked. Raises ApiError if no response has begun.
    """
    client = descriptors[0]
    os.set_blocking(client, True)
    store = Store(places.images)
    store.open()
    endpoints.daemon_json = places.daemon_json
    login = login_of(message["login"])
    platform = ["--platform", message["platform"]] if message["platform"] else []
    stream = Stream(client)
    is_pulled = False
    try:
        if message["platform"]:
            parse_platform(message["platform"])  # before anybody is asked
        for name in _names(message, login):
            pull = Pull(parse(["pull", *platform, name]), store, IdMappings([], []), stream)
            pull.login = login
            image = pull.into_store()
            layer_sizes.note(places, store, image)
        is_pulled = True
    except (Error, OSError) as error:
        if not stream.has_begun:
            raise in_dockers_words(error) from error
        stream.failed(reason(error))
    stream.end()
    return {"is_pulled": is_pulled}


def _names(message: "Message", login: "Credentials | None") -> "list[str]":
    reference = parse_reference(message["name"])
    if not message["all"]:
        return [str(reference)]
    options = Options()
    options.login = login
    tags = Registry(reference, options, lambda note: None).tags(of_mirrors=True)
    if not tags:
        raise NotFound(f"no tags found for {reference.familiar_repository()}")
    return [f"{str(reference).rpartition(':')[0]}:{tag}" for tag in sorted(tags)]


def login_of(header: str) -> "Credentials | None":
    """Return the credentials of X-Registry-Auth, a JSON object in base64url."""
    if not header:
        return None
    try:
        given = decode_header(header)
    except ValueError:
        raise ApiError(400, "X-Registry-Auth: expected a JSON object in base64url") from None
    user, password, token = (str(given.get(name) or "") for name in ("username", "password", "identitytoken"))
    if not (user or token):
        return None
    from pyfetch.registry.credentials import Credentials

    return Credentials(user, password, token, str(given.get("registrytoken") or ""))


def in_dockers_words(error: "Error | OSError") -> ApiError:
    """Return the answer that dockerd gives if it cannot fetch an image."""
    text = reason(error)
    if isinstance(error, UsageError):
        return ApiError(400, text)
    return ApiError(404 if isinstance(error, (AuthError, NotFound)) else 500, text)
