"""A worker that lists the processes of a container, with the host's ps."""

from pyrun.commands.ps import lines_of
from pyrun.container.state import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Return docker's table: the last column takes the rest of a line."""
    header, *lines = lines_of(load(places.states, message["id"]).processes(), message["options"])
    titles = header.split()
    return {"Titles": titles, "Processes": [line.split(None, len(titles) - 1) for line in lines]}
