"""pyrun delete"""

import os

from pyrun.commands import each
from pyrun.container import end
from pyrun.container.state import STATE_FILE, Container, check_id, load
from pyrun.errors import Error

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.cli import Settings


def run(settings: "Settings", *ids: str, force: bool = False) -> int:
    return each(ids, lambda id_: _delete_any(settings.root, id_, force))


def _delete_any(root: str, id_: str, force: bool) -> None:
    check_id(id_)
    directory = f"{root}/{id_}"
    try:
        _delete(root, id_, directory, force)
    except Error:
        if not force or os.path.isdir(directory):
            raise
        # there is none, or another command has deleted it at the same time


def _delete(root: str, id_: str, directory: str, force: bool) -> None:
    try:
        container = load(root, id_)
    except Error:
        if not os.path.isdir(directory):
            raise
        if os.path.lexists(f"{directory}/{STATE_FILE}") and not force:
            raise  # a state that cannot be read may be of a container that runs
        _remove(Container(directory, id_))
        return
    end.delete(container, force)


def _remove(unfinished: Container) -> None:
    """Remove a container whose creator was killed before it wrote a state, unless who deletes it is at it."""
    lock = unfinished.lock()
    try:
        unfinished.remove()
    finally:
        os.close(lock)
