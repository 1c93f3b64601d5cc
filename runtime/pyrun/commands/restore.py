"""pyrun restore"""

from pyrun.checkpoint import criu
from pyrun.checkpoint.options import Images, requested
from pyrun.checkpoint.restore import restore
from pyrun.container.end import delete_ended
from pyrun.launch import foreground
from pyrun.launch.plan import Request
from pyrun.linux.prctl import PR_SET_CHILD_SUBREAPER, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli import Settings

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
    images = Images(image_path, work_path, _LOG)
    of_bundle = {name: options.pop(name) for name in _BUNDLE if name in options}
    wanted = requested(**options)
    program = criu.find(settings.criu)
    images.check()
    request = Request(settings.root, id_, cgroup_manager=settings.cgroup_manager, detach=detach, **of_bundle)
    request.pipes = "keep"
    # As `run`: who asks for the pid means to wait for it.
    request.monitor = detach and not request.pid_file
    if detach:
        return _detach(request, images, program, wanted)
    foreground.hold_signals()
    if not no_subreaper:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    container, terminal = restore(request, images, program, wanted)
    status = foreground.attend(container.pid, terminal)
    delete_ended(container)
    return status


def _detach(request: Request, images: Images, program: str, wanted: "dict[str, Any]") -> int:
    if not request.monitor:
        restore(request, images, program, wanted)
        return 0
    from pyrun.launch.monitor import split_off

    monitor = split_off()
    if monitor.status is not None:
        return monitor.status
    container, _ = restore(request, images, program, wanted)
    monitor.take_over(container)
