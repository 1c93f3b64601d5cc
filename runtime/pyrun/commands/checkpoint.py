"""pyrun checkpoint"""

from foundation.linux import os
from pyrun.checkpoint import criu
from pyrun.checkpoint.dump import checkpoint
from pyrun.checkpoint.options import Images, requested, server
from pyrun.container.end import delete_ended
from pyrun.container.state import load
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.options import Settings

_LOG = "dump.log"


def run(
    settings: "Settings",
    id_: str,
    image_path: str = "",
    work_path: str = "",
    parent_path: str = "",
    pre_dump: bool = False,
    page_server: str = "",
    status_fd: str = "",
    **options: "Any",
) -> None:
    """`options` are criu's, by their names in its RPC. Raises Error; the container then goes on."""
    container = load(settings.root, id_)
    wanted = requested(**options)
    images = Images(image_path, work_path, _LOG)
    if parent_path:
        wanted.update(images.parent(parent_path))
    if pre_dump:
        wanted["track_mem"] = True
    if page_server:
        wanted["ps"] = server(page_server)
    if options.get("lazy_pages") and not page_server:
        raise UsageError("--lazy-pages needs --page-server ADDRESS:PORT, at which they are served")
    checkpoint(container, images, criu.find(settings.criu), wanted, pre_dump, _descriptor(status_fd))
    if not (pre_dump or wanted.get("leave_running")):
        delete_ended(container)


def _descriptor(number: str) -> int:
    if not number:
        return -1
    try:
        os.set_inheritable(int(number), False)  # its reader waits until every process has closed it
    except (ValueError, OSError) as error:
        raise UsageError(f"invalid --status-fd argument {number}: is not an open descriptor") from error
    return int(number)
