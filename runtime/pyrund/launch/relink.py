"""A worker that notes in the /etc/hosts of a running container where the containers are to which it has links."""

from pyrund.launch.connect import change_hosts
from pyrund.model.container import existing
from pyrund.spec.links import host_lines

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Change the lines of the container `id` for its links; remove the lines of the aliases `gone`."""
    container = existing(places, message["id"])
    lines = {alias.encode(): line.encode() for alias, line in host_lines(container).items()}
    gone = {alias.encode() for alias in message["gone"]}

    def changed(line: bytes) -> bytes:
        alias = line.split()[1] if len(line.split()) > 1 else b""
        return b"" if alias in gone else lines.pop(alias, line)

    change_hosts(container, lambda old: b"".join([*map(changed, old), *lines.values()]))
