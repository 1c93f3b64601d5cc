"""How a container goes on from a checkpoint.

criu wants a root file system that is mounted already. So its layers are mounted in a mount namespace of the worker,
which lasts until the container has its own; the worker goes back before it becomes the monitor, because a monitor would
keep all mounts of the host there are.
"""

from foundation.linux import os
from foundation.linux.mount import MS_REC, MS_SLAVE, mount
from foundation.linux.opened import opened
from foundation.linux.sched import CLONE_NEWNS, setns, unshare
from pyfetch.bundle import overlay
from pyfetch.image.store import Store
from pyrun.checkpoint import criu
from pyrun.checkpoint.options import Images
from pyrun.checkpoint.restore import restore
from pyrund.errors import ApiError
from pyrund.launch import sharing, volume_mounts
from pyrund.launch.checkpoint import is_complete, options

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.container.state import Container as State
    from pyrun.launch.plan import Request
    from pyrun.launch.undo import Undo
    from pyrund.model.container import Container


def restored(container: "Container", request: "Request", checkpoint: str, undo: "Undo") -> "tuple[State, int]":
    """Restore the container from the folder `checkpoint`; return it, running, and the master end of its terminal or -1.

    Raises ApiError, Error and OSError; `undo` then removes what was made.
    """
    volume_mounts.refuse_checkpoint(container)
    sharing.refuse_checkpoint(container)
    if not is_complete(checkpoint):
        name = os.path.basename(checkpoint)
        raise ApiError(500, f"checkpoint {name} does not exist for container /{container.name}")
    program, images = criu.find(""), Images(checkpoint, "", "restore.log")
    with opened(os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)) as home:
        unshare(CLONE_NEWNS)
        try:
            mount(None, b"/", None, MS_REC | MS_SLAVE)
            _mount_layers(container, f"{request.bundle}/rootfs")
            return restore(request, images, program, options(container.has_own_network), undo)
        finally:
            setns(home, CLONE_NEWNS)


def _mount_layers(container: "Container", target: str) -> None:
    places = container.places
    layer = places.layer(container.id)
    upper, work = f"{layer}/upper", f"{layer}/work"
    for path in (layer, upper, work):
        os.makedirs(path, 0o700, exist_ok=True)

    def mount_over(names: "list[str]") -> None:
        overlay.copy_root(names[-1], upper)
        overlay.mount_over(names[::-1], upper, work, target)

    overlay.with_short_names(Store(places.images), container.layers, mount_over)
