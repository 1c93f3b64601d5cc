"""pyrun run"""

from foundation.linux import os
from foundation.linux.prctl import PR_SET_CHILD_SUBREAPER, prctl
from pyrun.container.end import delete, delete_ended
from pyrun.container.state import Container, check_id
from pyrun.errors import UsageError
from pyrun.launch.create import create
from pyrun.launch.plan import Request
from pyrun.launch.start import start
from pyrun.launch.undo import Undo
from pyrun.stdio import foreground

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from pyrun.options import Settings


def run(
    settings: "Settings",
    *words: str,
    detach: bool = False,
    monitor: bool = False,
    keep: bool = False,
    no_subreaper: bool = False,
    **options: "Any",
) -> int:
    """Create and start a container. Without `detach`, wait for its end, delete it and return its exit status.

    `words` are `[ID] [-- CMD...]`; `options` are those of create.
    """
    id_, arguments = _split(list(words))
    if monitor and not detach:
        raise UsageError('"pyrun run --monitor" is for --detach: without, it waits itself')
    manager = settings.cgroup_manager
    id_or_new = id_ or _make_id()
    request = Request(settings.root, id_or_new, cgroup_manager=manager, detach=detach, arguments=arguments, **options)
    # A caller that asks for the pid will wait for the init, as a subreaper: so the init must become its child.
    request.monitor = monitor or (detach and not (request.pid_file or request.pidfd_socket))
    if detach:
        from pyrun.launch.detached import leave_behind  # one module less in the foreground

        request.pipes = "drop"
        status = leave_behind(lambda undo: _create_and_start(request, undo)[0], request.monitor)
        if status == 0 and not id_:
            print(request.id)
        return status
    foreground.hold_signals()
    if not no_subreaper:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    with Undo() as undo:
        container, terminal, finish_notifying = _create_and_start(request, undo)
        status = foreground.attend(container.pid, terminal)
        undo.keep()
        finish_notifying()
    if not keep:
        delete_ended(container)
    return status


def _create_and_start(request: Request, undo: Undo) -> "tuple[Container, int, Callable[[], object]]":
    container, terminal = create(request, undo)
    undo.replace(lambda: delete(container, force=True))
    return container, terminal, start(container, foreground=not request.detach)


def _split(words: "list[str]") -> "tuple[str, list[str] | None]":
    """Return (id or "", command or None) of `[ID] [-- CMD...]`."""
    ids = words[: words.index("--")] if "--" in words else words
    if len(ids) > 1:
        raise UsageError(f'"pyrun run" takes one ID, and a command only after "--": {" ".join(ids)}')
    for id_ in ids:
        check_id(id_)  # an empty ID is refused; it is not the same as no ID
    command = words[len(ids) + 1 :]
    if "--" in words and not command:
        raise UsageError('"pyrun run": there is no command after "--"')
    return (ids[0] if ids else ""), command or None


def _make_id() -> str:
    return os.urandom(6).hex()
