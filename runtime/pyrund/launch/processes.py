"""A worker that lists the processes of a container, with the host's ps."""

from pyrun.commands.ps import lines_of
from pyrun.container.state import load
from pyrund.launch.answer import send_json

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Answer the request on the connection `descriptors[0]` by a table; its last column has the rest of a line."""
    header, *lines = lines_of(load(places.states, message["id"]).processes(), message["options"])
    titles = header.split()
    table = {"Titles": titles, "Processes": [line.split(None, len(titles) - 1) for line in lines]}
    send_json(descriptors[0], table)
