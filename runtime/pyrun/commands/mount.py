"""pyrun mount: bind a file or directory of the host into a container that runs."""

from pyrun.container.state import load
from pyrun.launch import live_mounts
from pyrun.rootfs.mounts import PlannedMount
from pyrun.spec.config import Mount
from pyrun.spec.node import root

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", id_: str, source: str, destination: str, options: "list[str] | None" = None) -> None:
    wanted = [option for text in options or [] for option in text.split(",") if option]
    entry = {"source": source, "destination": destination, "type": "bind", "options": wanted}
    planned = PlannedMount(Mount(root(entry, "mount")))
    live_mounts.mount(load(settings.root, id_), planned)
