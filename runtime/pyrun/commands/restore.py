"""pyrun restore"""

from foundation.linux.prctl import PR_SET_CHILD_SUBREAPER, prctl
from pyrun.checkpoint import criu
from pyrun.checkpoint.options import Images, requested
from pyrun.checkpoint.restore import restore
from pyrun.container.end import delete_ended
from pyrun.container.state import Container
from pyrun.launch.detached import leave_behind
from pyrun.launch.plan import Request
from pyrun.launch.undo import Undo
from pyrun.stdio import foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.options import Settings

_LOG = "restore.log"
_BUNDLE = ("bundle", "console_socket", "pid_file", "no_pivot")


def run(
    settings: "Settings",
    id_: str,
    image_path: str = "",
    work_path: str = "",
    detach: bool = False,
    no_subreaper: bool = False,
    **options: "Any",
) -> int:
    """Restore the container, and without `detach` wait for its end, delete it and return its exit status.

    `options` are those of the bundle (_BUNDLE), and criu's by their names in its RPC.
    """
    images = Images(image_path, work_path, _LOG)
    of_bundle = {name: options.pop(name) for name in _BUNDLE if name in options}
    wanted = requested(**options)
    program = criu.find(settings.criu)
    images.check()
    request = Request(settings.root, id_, cgroup_manager=settings.cgroup_manager, detach=detach, **of_bundle)
    request.pipes = "keep"
    request.offers_notify = False  # the image has the socket of NOTIFY_SOCKET, if there was one
    # As in `run`: a caller that asks for the pid will itself wait for the init.
    request.monitor = detach and not request.pid_file

    def restored(undo: Undo) -> "tuple[Container, int]":
        container, terminal = restore(request, images, program, wanted, undo)
        undo.replace(lambda: delete_ended(container))
        return container, terminal

    if detach:
        return leave_behind(lambda undo: restored(undo)[0], request.monitor)
    foreground.hold_signals()
    if not no_subreaper:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    with Undo() as undo:
        container, terminal = restored(undo)
        undo.keep()
    status = foreground.attend(container.pid, terminal)
    delete_ended(container)
    return status
