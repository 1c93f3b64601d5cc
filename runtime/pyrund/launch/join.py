"""A worker that connects a running container with one more network."""

from foundation.linux.opened import opened
from pyrund.launch.connect import (
    ends_of,
    forget_hosts,
    note_hosts,
    note_name_servers,
    publish_again,
    route,
)
from pyrund.launch.running import running_namespace
from pyrund.model.container import existing
from pyrund.net import bridge, ends

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Make what container.json says of `network`: the interface `outside` with its `addresses`; `routes`: the
    container's way out has changed, too. It may be half made already, by a worker that was killed."""
    container = existing(places, message["id"])
    known = ends_of(container)
    new = known.get(message["network"])
    with opened(running_namespace(container)) as namespace, bridge.Lock(places.run):
        if new:
            ends.disconnect(namespace, message["outside"])
            ends.connect(namespace, [new])
            forget_hosts(container, message["addresses"])
            note_hosts(container, *message["addresses"])
            note_name_servers(container)
        if message["routes"]:
            route(container, namespace, known, of_ipv6=False)
            publish_again(container)
        if new and new.address6:
            route(container, namespace, known, of_ipv6=True)
