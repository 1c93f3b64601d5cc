"""A worker that disconnects a running container from a network."""

from foundation.linux.opened import opened
from pyrund.launch.connect import ends_of, forget_hosts, note_name_servers, publish_again, route
from pyrund.launch.running import running_namespace
from pyrund.model.container import existing
from pyrund.net import bridge, ends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Remove the interface `outside`, whose other end had the `addresses`; `routes`: the container's way out is another
    one now. A part of that may be done already, by a worker that was killed."""
    container = existing(places, message["id"])
    known = ends_of(container)
    with opened(running_namespace(container)) as namespace, bridge.Lock(places.run):
        ends.disconnect(namespace, message["outside"])
        if message["addresses"]:
            forget_hosts(container, message["addresses"])
            note_name_servers(container)
        if message["routes"]:
            route(container, namespace, known, of_ipv6=False)
            publish_again(container)
        if any(":" in address for address in message["addresses"]):
            route(container, namespace, known, of_ipv6=True)
