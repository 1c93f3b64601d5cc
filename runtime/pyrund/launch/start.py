"""A worker that starts a container, and then is its monitor.

worker                              daemon
write the bundle, create, start
{"pid", "started"} ───────────────▶ with the engine's ends: of the monitor's socket, and of the streams
become the monitor: Python ends
1 ────────────────────────────────▶ the container runs
wait for the init, record its end
a byte on the socket ─────────────▶ drain the streams
exit                              ◀ a byte
"""

from foundation.errors import Error, reason
from foundation.linux import os
from foundation.linux.socketpair import STREAM, socketpair
from pyfetch.bundle import overlay
from pyfetch.bundle.seccomp import default_profile
from pyfetch.bundle.users import User
from pyfetch.image.store import Store
from pyrun.config.node import Node
from pyrun.confine import seccomp
from pyrun.container.end import delete
from pyrun.container.state import EXIT
from pyrun.launch.create import create
from pyrun.launch.plan import Request
from pyrun.launch.start import start
from pyrun.launch.undo import Undo
from pyrun.stub.monitor import keep_watch
from pyrund.errors import ApiError
from pyrund.launch import remove, sharing, users, volume_mounts
from pyrund.launch.connect import connect
from pyrund.launch.ends import Ends
from pyrund.model.container import Container, existing
from pyrund.model.times import now
from pyrund.process import UPLINK
from pyrund.spec.config_json import Joined, write_bundle

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from pyrund.messages import Message, Port
    from pyrund.places import Places


def prepare() -> None:
    """Do once, before the launcher forks, what every start would do again."""
    at_need = "rootfs.overlay cgroup.memory cgroup.cpu stub.seccomp_load stub.interpreter"  # when pyrun loads them
    for module in at_need.split():
        __import__(f"pyrun.{module}")
    seccomp.compile(Node(default_profile(), "linux.seccomp: "), {})


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Start the container `id`. Returns only by raising."""
    container = existing(places, message["id"])
    remove.run(places, message, answers, [])  # what is left of the last run, if it could not be removed then
    if not container.command[0]:
        raise failure(NO_NAME)  # an empty name cannot be a program's
    joined = sharing.joined(container)
    write_bundle(container, _user(container), joined)
    config = container.config
    ends = Ends(config["Tty"], config["OpenStdin"], keeps_stdin=not config["StdinOnce"])
    try:
        _start(container, ends, answers, joined, message.get("checkpoint", ""))
    except (Error, OSError) as error:
        raise failure(reason(error)) from error


def _start(container: Container, ends: Ends, answers: "Port", joined: Joined, checkpoint: str) -> None:
    places = container.places
    request = Request(places.states, container.id, places.bundle(container.id))
    request.cgroup_manager = "systemd" if places.systemd else "cgroupfs" if places.has_cgroups else "disabled"
    request.monitor = True
    request.init = bool(container.host_config.get("Init"))
    request.streams = ends.theirs
    resolver: list[int] = []
    request.connect = lambda pid: resolver.extend(connect(container, pid))
    with Undo() as undo:
        if checkpoint:
            from pyrund.launch.restore import restored  # few containers go on from one

            state, terminal = restored(container, request, checkpoint, undo)
        else:
            request.overlay = places.layer(container.id)
            request.layers = [f"{places.images}/layers/{name}" for name in container.layers]
            request.sources = {**volume_mounts.sources(container), **sharing.sources(container, joined)}
            state, terminal = create(request, undo)
            for fd in request.sources.values():
                os.close(fd)
        undo.replace(lambda: delete(state, force=True))
        if any(joined.pids):
            sharing.look_again(container, joined)
        if not checkpoint:
            start(state)
        ends.take_terminal(terminal)
        ours, theirs = socketpair(STREAM)
        answer = {"pid": state.pid, "started": now(), "names": ends.names}
        answers.send(answer, (ours.fileno(), *ends.ours, *resolver))
        record = os.open(f"{state.directory}/{EXIT}", os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        # The pipe of a rootless engine is the last one: rootless.py finds it there.
        kept = (theirs.fileno(), ours.fileno(), *ends.kept, *([UPLINK] if places.is_rootless else []))
        keep_watch(state.pid, container.id.encode(), record, answers.fileno(), kept)


NO_NAME = 'exec: "": executable file not found in $PATH'


def failure(text: str) -> ApiError:
    """Return the error for a program that cannot run. Clients search for words of runc's in it."""
    is_program = text.startswith("exec")
    where = "unable to start container process: " if is_program else ""
    return ApiError(
        400 if is_program else 500,
        f"failed to create task for container: OCI runtime create failed: {where}{text}: unknown",
    )


def _user(container: Container) -> User:
    """Return the user of the container's Config, as its own files define him."""

    def look(find: "Callable[[int], User]") -> User:
        places = container.places
        layers = list(container.document["Layers"])
        upper = f"{places.layer(container.id)}/upper"
        if os.path.isdir(upper):
            layers.append(upper)
        return overlay.with_view(Store(places.images), layers, find)

    user = users.find(container.config["User"], look)
    groups = [_group(text, look) for text in container.host_config.get("GroupAdd") or []]
    return User(user.uid, user.gid, (*user.groups, *groups))


def _group(text: str, look: "Callable[[Callable[[int], User]], User]") -> int:
    """Return the number of a group by name or number, as the container's own files define it. Raises ApiError."""
    if not text:
        raise ApiError(400, "unable to find group : no matching entries in group file")
    return users.find(f"0:{text}", look).gid
