"""Stopping all processes of a cgroup, by v1's freezer.state or v2's cgroup.freeze."""

import time
from errno import ENODEV, ENOENT

from pyrun.cgroup.controller import Controller
from pyrun.errors import Error

TIMEOUT = 10.0  # seconds; runc waits as long


def freeze(controller: Controller) -> None:
    """Freeze, and return when the last process has stopped. Where one does not, thaw again and raise Error."""
    deadline = time.monotonic() + TIMEOUT
    attempt = 0
    while time.monotonic() < deadline:
        _ask(controller, True)
        if _has_stopped(controller):
            return
        attempt += 1
        # v1 can stay in FREEZING; the kernel's freezer-subsystem.txt: write again, or thaw and try once more.
        if not controller.v2 and attempt % 25 == 0:
            _ask(controller, False)
        time.sleep(0.001)
    thaw(controller)
    raise Error(f"cannot freeze the cgroup {controller.directory}: a process does not stop")


def thaw(controller: Controller) -> None:
    try:
        _ask(controller, False)
    except OSError as error:
        if not _is_gone(error):
            raise


def frozen(controller: Controller) -> bool:
    """Tell whether this cgroup was told to freeze: not whether one above it was, whose business that is."""
    try:
        return controller.read("cgroup.freeze" if controller.v2 else "freezer.self_freezing") == "1"
    except OSError as error:
        if _is_gone(error):
            return False
        raise


def _is_gone(error: OSError) -> bool:
    """The cgroup has been removed: before its file was opened, or after."""
    return error.errno in (ENOENT, ENODEV)


def _ask(controller: Controller, freeze: bool) -> None:
    if controller.v2:
        controller.write("cgroup.freeze", int(freeze))
    else:
        controller.write("freezer.state", "FROZEN" if freeze else "THAWED")


def _has_stopped(controller: Controller) -> bool:
    if controller.v2:
        return "frozen 1" in controller.read("cgroup.events")
    return controller.read("freezer.state") == "FROZEN"  # FREEZING while some have not
