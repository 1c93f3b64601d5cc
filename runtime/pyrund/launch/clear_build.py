"""A worker that removes what is left of a build that did not come to its end."""

from pyfetch.unpack.removal import remove_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    remove_path(places.build(message["id"]))
