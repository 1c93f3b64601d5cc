"""Stopping all processes of a cgroup, by v1's freezer.state or v2's cgroup.freeze."""

import time

from foundation.errors import Error
from pyrun.cgroup.controller import Controller, is_gone

TIMEOUT = 10.0  # seconds; runc waits as long


def freeze(controller: Controller) -> None:
    """Freeze, and return when the last process has stopped. If one does not stop in time, thaw and raise Error."""
    deadline = time.monotonic() + TIMEOUT
    attempt = 0
    while time.monotonic() < deadline:
        _ask(controller, True)
        if _has_stopped(controller):
            return
        attempt += 1
        # v1 can stay in FREEZING. The kernel's freezer-subsystem.txt: write again, or thaw and try once more.
        if not controller.v2 and attempt % 25 == 0:
            _ask(controller, False)
        time.sleep(0.001)
    thaw(controller)
    raise Error(f"cannot freeze the cgroup {controller.directory}: a process does not stop")


def thaw(controller: Controller) -> None:
    """Thaw; do nothing if the cgroup has been removed."""
    try:
        _ask(controller, False)
    except OSError as error:
        if not is_gone(error):
            raise


def frozen(controller: Controller) -> bool:
    """Return whether this cgroup itself was frozen; a frozen ancestor does not count."""
    try:
        return controller.read("cgroup.freeze" if controller.v2 else "freezer.self_freezing") == "1"
    except OSError as error:
        if is_gone(error):
            return False
        raise


def _ask(controller: Controller, freeze: bool) -> None:
    if controller.v2:
        controller.write("cgroup.freeze", int(freeze))
    else:
        controller.write("freezer.state", "FROZEN" if freeze else "THAWED")


def _has_stopped(controller: Controller) -> bool:
    if controller.v2:
        return "frozen 1" in controller.read("cgroup.events")
    return controller.read("freezer.state") == "FROZEN"  # it is FREEZING while some processes run
