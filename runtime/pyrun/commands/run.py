"""pyrun run"""

import os

from pyrun.container.end import delete, delete_ended
from pyrun.container.state import Container, check_id
from pyrun.errors import UsageError
from pyrun.launch import foreground
from pyrun.launch.create import create
from pyrun.launch.plan import Request
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
    monitor: bool = False,
    keep: bool = False,
    no_subreaper: bool = False,
    **options: "Any",
) -> int:
    id_, arguments = _split(list(words))
    if monitor and not detach:
        raise UsageError('"pyrun run --monitor" is for --detach: without, it waits itself')
    manager = settings.cgroup_manager
    id_or_new = id_ or _make_id()
    request = Request(settings.root, id_or_new, cgroup_manager=manager, detach=detach, arguments=arguments, **options)
    # Who asks for the pid means to wait for it, as a subreaper can: the init must then become its child.
    request.monitor = monitor or (detach and not (request.pid_file or request.pidfd_socket))
    if detach:
        request.pipes = "drop"
        status = _detach(request)
        if status == 0 and not id_:
            print(request.id)
        return status
    foreground.hold_signals()
    if not no_subreaper:
        prctl(PR_SET_CHILD_SUBREAPER, 1)
    container, terminal = _create_and_start(request)
    status = foreground.attend(container.pid, terminal)
    if not keep:
        delete_ended(container)
    return status


def _detach(request: Request) -> int:
    if not request.monitor:
        _create_and_start(request)
        return 0
    from pyrun.launch.monitor import split_off

    monitor = split_off()
    if monitor.status is not None:
        return monitor.status
    container, _ = _create_and_start(request)
    monitor.take_over(container)


def _create_and_start(request: Request) -> "tuple[Container, int]":
    container, terminal = create(request)
    try:
        start(container, foreground=not request.detach)
    except BaseException:
        delete(container, force=True)
        raise
    return container, terminal


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
