"""A worker that removes what is left of a container's run, or all of the container."""

import _signal

from foundation.errors import Error
from foundation.linux import os
from pyfetch.unpack.removal import remove_path
from pyrun.container import unreadable
from pyrun.container.end import delete
from pyrun.container.process import open_process
from pyrun.container.state import Container, load
from pyrund.launch import unpublish

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> None:
    """Remove the processes, cgroup and state of the run of container `id`; `all`: its folder, too."""
    id_ = message["id"]
    unpublish.run(places, message, answers, [])
    if os.path.isdir(f"{places.states}/{id_}"):
        try:
            state = load(places.states, id_)
        except Error:
            unreadable.delete(Container(f"{places.states}/{id_}", id_))  # its creator was killed early
        else:
            delete(state, force=True)
            _dismiss(state)
    if message.get("all"):
        link = f"{places.images}/bundles/{id_}"
        if os.path.islink(link):
            os.unlink(link)
        remove_path(places.container(id_))


def _dismiss(state: Container) -> None:
    """End the monitor if it still keeps the streams: no engine has taken over a container that none knows."""
    pidfd = open_process(*state.monitor)
    if pidfd < 0:
        return
    try:
        _signal.pidfd_send_signal(pidfd, _signal.SIGTERM)
    except ProcessLookupError:
        pass  # it has just ended
    finally:
        os.close(pidfd)
