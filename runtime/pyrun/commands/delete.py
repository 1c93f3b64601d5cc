"""pyrun delete"""

import os

from pyrun.container import end
from pyrun.container.state import Container, check_id, load
from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", id_: str, force: bool = False) -> None:
    check_id(id_)
    directory = f"{settings.root}/{id_}"
    try:
        container = load(settings.root, id_)
    except Error:
        if os.path.isdir(directory):
            Container(directory, id_).remove()  # its creator was killed before it wrote a state
        elif not force:
            raise
        return
    try:
        end.delete(container, force)
    except Error:
        if not force or os.path.isdir(directory):
            raise
        # another command has deleted it at the same time
