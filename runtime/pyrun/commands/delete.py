"""pyrun delete"""

from foundation.errors import Error
from foundation.linux import os
from pyrun.commands import each
from pyrun.container import end
from pyrun.container.state import STATE_FILE, Container, check_id, load
from pyrun.errors import NoContainer, UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.options import Settings


def run(settings: "Settings", *ids: str, force: bool = False, regex: bool = False) -> int:
    if regex:
        ids = tuple(_found_by(ids, settings.root))
    return each(ids, lambda id_: _delete_any(settings, id_, force))


def _found_by(patterns: "tuple[str, ...]", root: str) -> "list[str]":
    """Return the ids that one of `patterns` matches anywhere, as in crun. It is not an error if there is none."""
    import re  # imported here because it is slow to load

    try:
        wanted = [re.compile(pattern) for pattern in patterns]
    except (re.error, RecursionError, OverflowError) as error:
        raise UsageError(f"--regex: {error}") from None
    ids = sorted(os.listdir(root)) if os.path.isdir(root) else []
    return [id_ for id_ in ids if any(pattern.search(id_) for pattern in wanted)]


def _delete_any(settings: "Settings", id_: str, force: bool) -> None:
    check_id(id_)
    try:
        _delete(settings, id_, force)
    except NoContainer:
        if not force:
            raise
        # it does not exist, or another command has deleted it at the same time


def _delete(settings: "Settings", id_: str, force: bool) -> None:
    directory = f"{settings.root}/{id_}"
    try:
        container = load(settings.root, id_)
    except Error:
        if not os.path.isdir(directory) or (os.path.lexists(f"{directory}/{STATE_FILE}") and not force):
            raise  # the container whose state cannot be read may be running
        from pyrun.container import unreadable  # rare, and it loads the config's modules

        unreadable.delete(Container(directory, id_))
    else:
        end.delete(container, force)
