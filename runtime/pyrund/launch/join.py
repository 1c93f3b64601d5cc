"""A worker that connects a running container with one more network."""

from pyrund.launch.connect import ends_of, note_hosts, note_name_servers, publish, route, running_pid
from pyrund.model.container import load
from pyrund.net import bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Make what container.json says of `network`; `routes`: the container's way out has changed, too."""
    container = load(places, message["id"])
    assert container is not None
    pid, ends = running_pid(container), ends_of(container)
    new = ends.get(message["network"])
    with bridge.Lock(places.run):
        if new:
            bridge.connect(pid, [new])
            note_hosts(container, new.address, new.address6)
            note_name_servers(container)
        if message["routes"]:
            route(container, pid, ends, of_ipv6=False)
            publish(container)
        if new and new.address6:
            route(container, pid, ends, of_ipv6=True)
