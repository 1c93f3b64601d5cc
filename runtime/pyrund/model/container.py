"""A container: its document on disk, and what is known of it while it runs.

Whether it runs is never stored. A container that has started and neither runs nor has an end was killed together with
the machine.
"""

import json
import time

from foundation.errors import Error
from foundation.linux import os, whole_file
from pyrund.errors import ApiError
from pyrund.loop import Future, Turns
from pyrund.model import init_layer, restart
from pyrund.model.endpoint import Endpoint
from pyrund.model.times import ZERO, duration, now, seconds

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.model.health import HealthCheck
    from pyrund.places import Places

    Json = dict[str, Any]

_FIELDS = frozenset(
    "Id Name Created Image Config HostConfig Layers Mounts StartedAt FinishedAt ExitCode Error OOMKilled "
    "RestartCount StoppedByHand Endpoints Ports WayOut".split()
)
UNKNOWN_STATUS = 255  # as dockerd says of a container whose end nobody has seen


class Container:
    """A container. `document` is what container.json holds:

    Id, Name, Created, Image (the image's id), Config, HostConfig   as in docker's API
    Layers       the folders of the image's layers in the store, the lowest first
    Mounts       all mounts, as spec/mounts.py writes them
    StartedAt, FinishedAt, ExitCode, Error, OOMKilled               of its last run; FinishedAt is ZERO until it ends
    RestartCount, StoppedByHand                                     since a client has started it
    Endpoints    {name of a network: its place there} (model/endpoint.py), the one of the network mode first
    Ports        what is published while it runs: lists of what net/ports.py calls Published
    WayOut       the name of the network by which it reaches the world while it runs, "" if there is none
    Links        {alias: id of another container}: how it knows others on the default bridge, if it does
    Change       what a worker is doing to its networks while it runs; only there meanwhile

    pid          its init's pid on the host, 0 if it does not run
    is_removing  whether it is being removed, or is removed
    attempt      the start that its restart policy will make, if it waits for one
    restart_delay   seconds that it waits for that
    restarts     how many clients restart it just now: its end is not that of a container that removes itself
    health       its health check, if it has one and has run under this engine
    turns        whoever starts, stops or removes it waits for the others to finish
    next_exit    its exit status when it ends the next time
    removed      its exit status when it is removed, or why its removal has failed
    """

    def __init__(self, places: "Places", document: "Json") -> None:
        self.places = places
        self.document = document
        self.pid = 0
        self.is_paused = False
        self.is_removing = False
        self.restarts = 0
        self.attempt: object | None = None
        self.restart_delay = 0.0
        self.health: HealthCheck | None = None
        self.turns = Turns()
        self.next_exit: Future[int] = Future()
        self.removed: Future[int] = Future()

    @property
    def id(self) -> str:
        return str(self.document["Id"])

    @property
    def name(self) -> str:
        return str(self.document["Name"])

    @property
    def layers(self) -> "list[str]":
        """What its root consists of, the lowest first: paths from the folder of the store's layers."""
        return [init_layer.NAME, *self.document["Layers"]]

    @property
    def config(self) -> "Json":
        return self.document["Config"]  # type: ignore[no-any-return]

    @property
    def command(self) -> "list[str]":
        """What it executes."""
        return [*(self.config["Entrypoint"] or []), *(self.config["Cmd"] or [])]

    @property
    def host_config(self) -> "Json":
        return self.document["HostConfig"]  # type: ignore[no-any-return]

    @property
    def is_running(self) -> bool:
        return self.pid != 0

    @property
    def is_active(self) -> bool:
        """Whether it runs, or waits for the start that its restart policy makes: docker calls both running."""
        return self.is_running or self.attempt is not None

    @property
    def network(self) -> str:
        return str(self.host_config["NetworkMode"])

    @property
    def has_own_network(self) -> bool:
        """Whether its network namespace is neither the host's nor that of another container."""
        return self.network != "host" and not self.network.startswith("container:")

    @property
    def endpoints(self) -> "dict[str, Endpoint]":
        return {name: Endpoint(settings) for name, settings in self.document["Endpoints"].items()}

    @property
    def links(self) -> "dict[str, str]":
        return self.document.get("Links") or {}

    def names_in(self, endpoint: "Endpoint") -> "list[str]":
        """Return the names by which others in the network of `endpoint` find the container."""
        return list(dict.fromkeys([self.name, *endpoint.aliases, self.id[:12], self.config["Hostname"]]))

    @property
    def way_out(self) -> str:
        return str(self.document["WayOut"])

    @property
    def has_log(self) -> bool:
        return bool(self.host_config["LogConfig"]["Type"] != "none")

    @property
    def status(self) -> str:
        if self.is_removing:
            return "removing"
        if self.is_running:
            return "paused" if self.is_paused else "running"
        if self.attempt:
            return "restarting"
        return "created" if self.document["StartedAt"] == ZERO else "exited"

    def described(self) -> str:
        """Return the status for people, as `docker ps` shows it."""
        if self.is_removing:
            return "Removal In Progress"
        if self.is_running:
            up = f"Up {duration(time.time() - seconds(self.document['StartedAt']))}"
            if self.is_paused:
                return f"{up} (Paused)"
            return f"{up} ({self.health.shown()})" if self.health else up
        if self.document["StartedAt"] == ZERO:
            return "Created"
        ago = duration(time.time() - seconds(self.document["FinishedAt"]))
        return f"{'Restarting' if self.attempt else 'Exited'} ({self.document['ExitCode']}) {ago} ago"

    def save(self) -> None:
        """Write container.json, whole or not at all. Raises OSError; the file is then as before."""
        path = self.places.document(self.id)
        whole_file.replace(path, json.dumps(self.document).encode(), f"{path}.new", soon=True)

    async def settled(self) -> None:
        """Return when it is not being started or removed: a program may print before its start is known here."""
        async with self.turns:
            pass

    def note_failed_removal(self, error: BaseException) -> None:
        """Tell those that wait for the removal, which can be tried again, why it has failed."""
        failed, self.removed = self.removed, Future()
        failed.fail(error)
        self.is_removing = False

    def note_start(self, pid: int, started: str) -> None:
        self.pid, self.attempt = pid, None
        self.document.update(StartedAt=started, FinishedAt=ZERO, ExitCode=0, Error="", OOMKilled=False)

    def note_end(self, code: int, finished: str, killed_by_kernel: bool = False, error: str = "") -> None:
        """Remember how the last run ended. After save(), end_waits() must be called."""
        self.pid, self.is_paused, self.attempt = 0, False, None
        self.leave_networks()
        self.document.update(FinishedAt=finished, ExitCode=code, OOMKilled=killed_by_kernel, Error=error)

    def leave_networks(self) -> None:
        for endpoint in self.endpoints.values():
            endpoint.end()
        self.document.update(Ports=[], WayOut="")
        self.document.pop("Change", None)

    # The restart policy.

    def is_due_again(self) -> bool:
        """Whether the container, which has ended, is to be started again."""
        return not self.is_removing and not self.document["StoppedByHand"] and self.is_wanted()

    def is_wanted(self) -> bool:
        """Whether an engine that begins starts the container, which has ended."""
        document = self.document
        policy, code, count = self.host_config["RestartPolicy"], document["ExitCode"], document["RestartCount"]
        return document["StartedAt"] != ZERO and restart.is_wanted(policy, code, count, document["StoppedByHand"])

    def note_restart(self) -> object:
        """The container will be started again: return the attempt."""
        document = self.document
        ran = seconds(document["FinishedAt"]) - seconds(document["StartedAt"])
        self.restart_delay = restart.delay(self.restart_delay, ran)
        document.update(RestartCount=document["RestartCount"] + 1, StoppedByHand=False)
        self.attempt = object()
        return self.attempt

    def note_start_by_hand(self) -> None:
        self.restart_delay = 0.0
        self.document.update(RestartCount=0, StoppedByHand=False)

    def note_stop_by_hand(self) -> bool:
        """A client stops the container: its restart policy does not start it. Return whether that is new."""
        self.attempt = None
        is_new, self.document["StoppedByHand"] = not self.document["StoppedByHand"], True
        return is_new

    def end_waits(self) -> None:
        """Give the exit status to all that wait for the end."""
        ended, self.next_exit = self.next_exit, Future()
        ended.set(self.document["ExitCode"])


def load(places: "Places", id_: str) -> "Container | None":
    """Return the container whose document is in the folder `id_`; None if it was half made, or half removed.

    Raises Error if the document is not one of ours.
    """
    path = places.document(id_)
    try:
        document = json.loads(whole_file.read(path))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise Error(f"{path}: {error}") from None
    if not isinstance(document, dict) or not document.keys() >= _FIELDS or document["Id"] != id_:
        raise Error(f"{path}: is not a container of this engine")
    return Container(places, document)


def existing(places: "Places", id_: str) -> Container:
    """Return the same. Raises ApiError if a client has just removed the container: no worker has its turn by itself."""
    container = load(places, id_)
    if container is None:
        raise ApiError(404, f"No such container: {id_}")
    return container


def new_document(id_: str, name: str) -> "Json":
    """Return those fields of the document of a new container that are the same for all."""
    return {
        "Id": id_,
        "Name": name,
        "Created": now(),
        "StartedAt": ZERO,
        "FinishedAt": ZERO,
        "ExitCode": 0,
        "Error": "",
        "OOMKilled": False,
        "RestartCount": 0,
        "StoppedByHand": False,
        "Ports": [],
        "WayOut": "",
    }


def make_folder(container: Container) -> None:
    """Make the container's folder. Raises OSError."""
    places = container.places
    for path in (places.container(container.id), places.bundle(container.id), f"{places.bundle(container.id)}/rootfs"):
        os.mkdir(path, 0o700)
