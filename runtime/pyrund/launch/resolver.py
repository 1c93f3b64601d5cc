"""A worker that opens the sockets of the name server of a running container."""

from foundation.linux import os
from foundation.linux.netlink import inside
from foundation.linux.opened import opened
from pyrund.launch.running import running_namespace
from pyrund.model.container import existing
from pyrund.net.resolver import open_sockets

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Answer with the sockets. Does not return."""
    container = existing(places, message["id"])
    with opened(running_namespace(container)) as namespace:
        answers.send({}, tuple(inside(namespace, open_sockets)))
    os._exit(0)
