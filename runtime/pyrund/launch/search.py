"""A worker that searches a registry."""

from foundation.errors import Error, reason
from pyfetch.registry import endpoints
from pyfetch.registry.access import Options
from pyfetch.registry.search import search
from pyrund.errors import ApiError
from pyrund.launch.pull import login_of

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


_LONGEST = 1000  # characters of a description; all of it goes through a message


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Return the `results` as docker's API has them."""
    endpoints.daemon_json = places.daemon_json
    options = Options()
    options.login = login_of(message["login"])
    options.retries = 0
    try:
        found = search(message["registry"], message["term"], message["limit"], options, lambda note: None)
        results = [
            {
                "star_count": one.integer("star_count", default=0),
                "is_official": one.boolean("is_official"),
                "name": one.string("name"),
                "is_automated": one.boolean("is_automated"),
                "description": one.string("description")[:_LONGEST],
            }
            for one in found[: message["limit"]]
        ]
    except (Error, OSError) as error:
        raise ApiError(500, reason(error)) from error
    return {"results": results}
