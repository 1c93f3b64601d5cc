"""pyrun create"""

from pyrun.launch.create import create
from pyrun.launch.plan import Request

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli import Settings


def run(settings: "Settings", id_: str, **options: "Any") -> "int | None":
    request = Request(settings.root, id_, cgroup_manager=settings.cgroup_manager, **options)
    if not request.monitor:
        create(request)
        return None
    from pyrun.launch.monitor import split_off

    monitor = split_off()
    if monitor.status is not None:
        return monitor.status
    container, _ = create(request)
    monitor.take_over(container)
