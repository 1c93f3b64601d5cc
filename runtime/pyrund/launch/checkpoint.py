"""A worker that keeps the checkpoints of a container: it writes one by criu, lists them, and removes one.

Each is a folder with an image of criu's, which is complete when it has its inventory: criu writes that last.
"""

from foundation.linux import os, whole_file
from pyfetch.unpack.removal import remove_path
from pyrun.checkpoint import criu
from pyrun.checkpoint.dump import checkpoint
from pyrun.checkpoint.options import INVENTORY, Images, requested
from pyrun.container.state import load
from pyrund.errors import ApiError
from pyrund.launch import sharing, volume_mounts
from pyrund.model.container import existing

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.messages import Message, Port
    from pyrund.places import Places


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message | None":
    """Do the `action` with the checkpoint `name` of container `id`, which is called `container`, in the `folder`."""
    folder, name, container = message["folder"], message["name"], message["container"]
    path = f"{folder}/{name}"
    if message["action"] == "list":
        names = os.listdir(folder) if os.path.isdir(folder) else []
        return {"names": sorted(one for one in names if is_complete(f"{folder}/{one}"))}
    if message["action"] == "remove":
        if not is_complete(path):
            raise ApiError(500, f"checkpoint {name} does not exist for container {container}")
        remove_path(path)
        return None
    known = existing(places, message["id"])
    volume_mounts.refuse_checkpoint(known)
    sharing.refuse_checkpoint(known)
    if folder == places.checkpoints(message["id"]) and os.path.isdir(path) and not is_complete(path):
        remove_path(path)  # of a worker that was killed; what a client's own folder has is not ours
    if os.path.lexists(path):
        why = f"checkpoint with name {name} already exists for container {container}"
        raise ApiError(500, f"cannot checkpoint container {container}: {why}")
    wanted = options(message["has_network"])
    if not message["ends"]:
        wanted["leave_running"] = True
    state, images, mark = load(places.states, message["id"]), Images(path, "", "dump.log"), ""
    try:
        if not message["is_paused"]:
            mark = places.held_mark(message["id"])
            whole_file.put(mark, b"", f"{mark}.new")
        checkpoint(state, images, criu.find(""), wanted, keeps_layer=True)
    finally:
        if mark:
            os.unlink(mark)
    return None


def is_complete(path: str) -> bool:
    return os.path.isfile(f"{path}/{INVENTORY}")


def options(has_network: bool) -> "dict[str, Any]":
    """Return criu's options. What is in a network of the container's own is not part of a checkpoint: it is made anew,
    as for any start."""
    return requested(empty_ns=["network"] if has_network else [])
