"""pyrun events: a line of JSON for each statistics of a container, and each time it runs out of memory."""

import select
import time

from foundation.durations import nanoseconds
from foundation.encode import encode
from foundation.errors import Error
from pyrun.cgroup.statistics import statistics
from pyrun.confine import intel_rdt
from pyrun.container.process import open_process
from pyrun.container.state import Container, load
from pyrun.errors import UsageError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.options import Settings

_OOM_CHECK = 1.0  # seconds: the maximum delay of an "oom" event


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
    """Print events until the container ends, which its pidfd reports at once."""
    pidfd = open_process(container.pid, container.start_time)
    if pidfd < 0:
        return
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
    try:
        total = nanoseconds(duration) / 1e9
    except ValueError:
        raise UsageError(f'invalid value "{duration}" for flag -interval: expected a duration like 5s') from None
    if total <= 0:
        raise UsageError("duration interval must be greater than 0")
    return total
