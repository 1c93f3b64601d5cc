"""pyrun events: what a container uses, and when it is out of memory, as a line of JSON each."""

import os
import select
import time

from pyrun.cgroup.statistics import statistics
from pyrun.confine import intel_rdt
from pyrun.container.state import Container, load, process_name
from pyrun.errors import Error, UsageError
from pyrun.spec.encode import encode

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.cli import Settings

_UNITS = {"ns": 1e-9, "us": 1e-6, "µs": 1e-6, "ms": 1e-3, "s": 1.0, "m": 60.0, "h": 3600.0}
_OOM_CHECK = 1.0  # seconds: how late an "oom" may be


def run(settings: "Settings", id_: str, interval: str = "5s", stats: bool = False) -> None:
    period = _seconds(interval)
    container = load(settings.root, id_)
    if container.status() == "stopped":
        raise Error(f"container with id {id_} is not running")
    if stats:
        _print(container, "stats")
    else:
        _follow(container, period)


def _follow(container: Container, period: float) -> None:
    """Print events until the container ends. Its pidfd tells of that at once."""
    pidfd = os.pidfd_open(container.pid)
    if not process_name(container.pid, container.start_time):
        return  # it ended between, and the pid may be another's
    ended = select.poll()
    ended.register(pidfd, select.POLLIN)
    kills = container.cgroup().oom_kills()
    due = time.monotonic() + period
    while not ended.poll(max(0, min(due - time.monotonic(), _OOM_CHECK)) * 1000):
        before, kills = kills, container.cgroup().oom_kills()
        if kills > before:
            _print(container, "oom")
        if time.monotonic() >= due:
            _print(container, "stats")
            due += period
    if container.cgroup().oom_kills() > kills:
        _print(container, "oom")


def _print(container: Container, type_: str) -> None:
    event: dict[str, Any] = {"type": type_, "id": container.id}
    if type_ == "stats":
        event["data"] = statistics(container.cgroup())
        if container.intel_rdt:
            event["data"]["intel_rdt"] = intel_rdt.statistics(container.intel_rdt)
    print(encode(event), flush=True)


def _seconds(duration: str) -> float:
    """Return the seconds of a duration as Go writes it: "5s", "1m30s", "250ms"."""
    rest, total = duration, 0.0
    while rest:
        number = rest[: len(rest) - len(rest.lstrip("0123456789."))]
        unit = rest[len(number) :]
        unit = unit[: len(unit) - len(unit.lstrip("nuµmsh"))]
        if unit not in _UNITS or number.count(".") > 1 or not number.strip("."):
            raise UsageError(f'invalid value "{duration}" for flag -interval: expected a duration like 5s')
        total += float(number) * _UNITS[unit]
        rest = rest[len(number) + len(unit) :]
    if total <= 0:
        raise UsageError("duration interval must be greater than 0")
    return total
