"""pyrun run"""

import os

from pyrun.container.end import delete
from pyrun.container.state import check_id
from pyrun.errors import UsageError
from pyrun.launch import foreground
from pyrun.launch.create import Request, create
from pyrun.launch.start import start
from pyrun.linux.prctl import PR_SET_CHILD_SUBREAPER, prctl

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli import Settings


def run(
    settings: "Settings",
    *words: str,
    detach: bool = False,
    keep: bool = False,
    no_subreaper: bool = False,
    **options: "Any",
) -> int:
    id_, arguments = _split(list(words))
    request = Request(settings.root, id_ or _make_id(), detach=detach, arguments=arguments, **options)
    if not detach:
        foreground.hold_signals()
        if not no_subreaper:
            prctl(PR_SET_CHILD_SUBREAPER, 1)
    container, terminal = create(request)
    try:
        start(container)
    except BaseException:
        delete(container, force=True)
        raise
    if detach:
        if not id_:
            print(container.id)
        return 0
    status = foreground.attend(container.pid, terminal)
    if not keep:
        delete(container, force=True)
    return status


def _split(words: "list[str]") -> "tuple[str, list[str] | None]":
    """Return (id or "", command or None) of `[ID] [-- CMD...]`."""
    ids = words[: words.index("--")] if "--" in words else words
    if len(ids) > 1:
        raise UsageError(f'"pyrun run" takes one ID, and a command only after "--": {" ".join(ids)}')
    for id_ in ids:
        check_id(id_)  # also an empty one, which is not the same as none
    command = words[len(ids) + 1 :]
    if "--" in words and not command:
        raise UsageError('"pyrun run": there is no command after "--"')
    return (ids[0] if ids else ""), command or None


def _make_id() -> str:
    return os.urandom(6).hex()
