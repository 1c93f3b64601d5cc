"""A worker that looks at an image in a registry."""

from foundation.errors import Error
from pyfetch.image.image import Resolver
from pyfetch.image.manifest import MAXIMUM_SIZE, Pointers
from pyfetch.image.reference import parse_reference
from pyfetch.image.store import Store
from pyfetch.registry import endpoints
from pyfetch.registry.access import Options
from pyfetch.registry.registry import Registry
from pyrund.launch.pull import in_dockers_words, login_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyfetch.image.platforms import Platform
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "dict[str, Any]":
    """Return the descriptor and the platforms of the image `name`."""
    endpoints.daemon_json = places.daemon_json
    options = Options()
    options.login = login_of(message["login"])
    store = Store(places.images)
    store.open()
    source = Registry(parse_reference(message["name"]), options, lambda note: None)
    try:
        image = Resolver(store, source, None, lambda warning: None).resolve(*source.top())
    except (Error, OSError) as error:
        raise in_dockers_words(error) from error
    data = store.read(image.top, MAXIMUM_SIZE)
    listed = [one.platform for one in Pointers(data or b"{}", image.top.media_type).manifests]
    return {"Descriptor": image.top.as_json(), "Platforms": [_shown(one) for one in listed or [image.platform] if one]}


def _shown(platform: "Platform") -> "dict[str, str]":
    variant = {"variant": platform.variant} if platform.variant else {}
    return {"architecture": platform.architecture, "os": platform.os, **variant}
