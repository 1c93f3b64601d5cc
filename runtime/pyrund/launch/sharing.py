"""What a container that is being started shares: namespaces and memory of others, and mounts of the host."""

from foundation.linux import os
from foundation.linux.mount import AT_RECURSIVE, OPEN_TREE_CLONE, open_tree
from pyrun.container.state import load as load_state
from pyrun.launch.mount import detached
from pyrund.errors import ApiError, missing
from pyrund.launch.running import running_pid
from pyrund.model.container import existing
from pyrund.spec.config_json import Joined, shared_memory_of
from pyrund.spec.mounts import of_container

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrund.model.container import Container

_SHARED_MEMORY = "/dev/shm"
_SHARES_IPC = ("shareable", "host")  # and whoever has the IPC namespace of one of these


def joined(container: "Container") -> Joined:
    """Return whose namespaces the container joins. Raises ApiError if one of these cannot be joined."""
    found, host = Joined(), container.host_config
    words = "cannot join network of a non running container: {0}"
    other, found.network = _named(container, container.network, words)
    found.bundle = container.places.bundle(other.id) if other else ""
    words = "cannot join PID namespace of a non running container: {0}"
    _, found.pid = _named(container, host.get("PidMode"), words)
    words = "can't join IPC of container {0}: container {0} is not running"
    other, found.ipc = _named(container, host.get("IpcMode"), words)
    if other:
        kind = (other.host_config.get("IpcMode") or "").partition(":")[0]
        if kind not in (*_SHARES_IPC, "container"):
            why = "non-shareable IPC (hint: use IpcMode:shareable for the donor container)"
            raise ApiError(400, f"can't join IPC of container {other.id}: {why}")
    return found


def look_again(container: "Container", known: Joined) -> None:
    """Raise ApiError unless the containers of the pids in `known` still run.

    If one has ended, another process may have got its pid, and the container may have entered that one's namespaces,
    which may be the host's.
    """
    if joined(container).pids != known.pids:
        raise ApiError(409, "a container whose namespace is joined has been started again meanwhile")


def _named(container: "Container", mode: "str | None", words: str) -> "tuple[Container | None, int]":
    """Return the container that a mode names, "container:ID", and the pid of its init; (None, 0) if it names none.

    Raises ApiError, with `words` if that container does not run.
    """
    kind, _, id_ = (mode or "").partition(":")
    if kind != "container":
        return None, 0
    other = existing(container.places, id_)
    try:
        return other, running_pid(other)
    except (ApiError, OSError):
        raise ApiError(409, words.format(id_)) from None


def sources(container: "Container", joined: Joined) -> "dict[tuple[str, str], int]":
    """Return detached mounts, as volume_mounts.sources() does for volumes: the shared memory of the container whose IPC
    namespace this one joins, and binds by which what the container mounts reaches the host. Raises Error and OSError.

    In a namespace of its own, the runtime would find only slaves of what is mounted on the host.
    """
    found = {}
    for mount in of_container(container):
        if mount.is_peer:
            _, source, options = mount.whole()
            flags = OPEN_TREE_CLONE | (AT_RECURSIVE if "rbind" in options else 0)
            found[source, mount.target] = open_tree(os.fsencode(source), flags)
    if joined.ipc:
        _, _, id_ = container.host_config["IpcMode"].partition(":")
        memory = detached(load_state(container.places.states, id_), _SHARED_MEMORY)
        found[shared_memory_of(joined.ipc), _SHARED_MEMORY] = memory
    return found


def refuse_checkpoint(container: "Container") -> None:
    """Raise ApiError if the container has the IPC namespace of another one: criu would want to make it."""
    if (container.host_config.get("IpcMode") or "").startswith("container:"):
        raise missing(f"a checkpoint of {container.name}, which has the IPC namespace of another container")
