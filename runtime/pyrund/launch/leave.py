"""A worker that disconnects a running container from a network."""

from pyrund.launch.connect import ends_of, forget_hosts, note_name_servers, publish, route, running_pid
from pyrund.model.container import load
from pyrund.net import bridge

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Remove the interface `outside`, whose other end `was` the container's address; `routes`: its way out is another
    one now."""
    container = load(places, message["id"])
    assert container is not None
    pid, ends = running_pid(container), ends_of(container)
    with bridge.Lock(places.run):
        bridge.remove(message["outside"])
        if message["was"]:
            forget_hosts(container, message["was"])
            note_name_servers(container)
        if message["routes"]:
            route(container, pid, ends, of_ipv6=False)
            publish(container)
        if any(":" in address for address in message["was"]):
            route(container, pid, ends, of_ipv6=True)
