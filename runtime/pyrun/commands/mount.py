"""pyrun mount: bind a file or directory of the host into a running container."""

from pyrun.config.document import Mount
from pyrun.config.node import Node
from pyrun.container.state import load
from pyrun.errors import UsageError
from pyrun.launch import mount
from pyrun.rootfs.planned_mount import PlannedMount

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", id_: str, source: str, destination: str, options: "list[str] | None" = None) -> None:
    if not destination:
        raise UsageError("the destination is empty")
    wanted = [option for text in options or [] for option in text.split(",") if option]
    entry = {"source": source, "destination": destination, "type": "bind", "options": wanted}
    planned = PlannedMount(Mount(Node.root(entry, "mount")))
    for ignored in planned.warnings:
        raise UsageError(ignored.removesuffix(": ignored"))
    mount.mount(load(settings.root, id_), planned)
