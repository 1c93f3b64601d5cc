"""pyrun create"""

from pyrun.container.end import delete
from pyrun.container.state import Container
from pyrun.launch.create import create
from pyrun.launch.detached import leave_behind
from pyrun.launch.plan import Request
from pyrun.launch.undo import Undo

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.options import Settings


def run(settings: "Settings", id_: str, **options: "Any") -> int:
    request = Request(settings.root, id_, cgroup_manager=settings.cgroup_manager, **options)
    return leave_behind(lambda undo: _create(request, undo), request.monitor)


def _create(request: Request, undo: Undo) -> Container:
    container, _ = create(request, undo)
    undo.replace(lambda: delete(container, force=True))
    return container
