"""The engine: all that the daemon knows, and the processes that work for it."""

import time

from pyrund.errors import ApiError
from pyrund.launch.forwarder import Forwarder
from pyrund.launch.launcher import Launcher
from pyrund.loop import Loop
from pyrund.model.containers import Containers
from pyrund.model.events import Events
from pyrund.model.images import Images
from pyrund.model.networks import Networks
from pyrund.model.volume import Volumes
from pyrund.net.ports import Reservations
from pyrund.streams.process import StreamsProcess

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.model.exec import Exec
    from pyrund.places import Places
    from pyrund.settings import Settings


class Engine:
    """Everything belongs to one thread, so nothing is locked, and nothing that may block is done here."""

    def __init__(
        self, places: "Places", launcher: Launcher, loop: Loop, streams: StreamsProcess, settings: "Settings"
    ) -> None:
        self.places = places
        self.settings = settings
        self.launcher = launcher
        self.loop = loop
        self.streams = streams
        self.containers = Containers()
        self.images = Images(places)
        self.volumes = Volumes(places)
        self.networks = Networks(places, settings)
        self.ports = Reservations()
        self.forwarders: dict[str, Forwarder] = {}
        self.serves_ports = (
            bool(settings.userland_proxy) and not places.is_rootless
        )  # instead of having packets forwarded
        self.execs: dict[str, Exec] = {}
        self.begun = time.time_ns()
        self.events = Events(places.events)

    def tell_detached(self, id_: str) -> None:
        """Tell that a client has left the container by the detach keys."""
        container = self.containers.get(id_)
        if container:
            self.events.of_container(container, "detach")

    def exec(self, id_: str) -> "Exec":
        """Return the exec `id_`. Raises ApiError."""
        found = self.execs.get(id_)
        if found is None:
            raise ApiError(404, f"No such exec instance: {id_[:80]}")
        return found
