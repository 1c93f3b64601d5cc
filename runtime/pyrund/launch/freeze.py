"""A worker that suspends or resumes all processes of a container."""

from pyrun.container.state import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    cgroup = load(places.states, message["id"]).cgroup()
    if message["thaw"]:
        cgroup.thaw()
    else:
        cgroup.freeze()
