"""A worker that changes the limits of a running container."""

from pyfetch.bundle.runtime_config import OCI_VERSION
from pyrun.config.linux import Resources
from pyrun.config.node import Node
from pyrun.config.validate import validate_resources
from pyrun.container.state import load

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Set the limits of `resources`, which is linux.resources; its device rules stay as they are."""
    wanted = Resources(Node(message["resources"], "linux.resources: "), OCI_VERSION)
    validate_resources(wanted)
    load(places.states, message["id"]).cgroup_driver().apply(wanted, devices=False)
