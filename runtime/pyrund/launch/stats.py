"""A worker that tells what a container uses, as docker's API has it: once, or every second until the client goes."""

import json
import time

from foundation.errors import Error
from foundation.linux import os, whole_file
from pyrun.cgroup.statistics import statistics
from pyrun.container.state import load
from pyrund.http.response import JSON
from pyrund.launch.answer import Answer
from pyrund.model.times import ZERO, now

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.container.state import Container as State
    from pyrund.messages import Message, Port
    from pyrund.places import Places

    Json = dict[str, Any]

_V2_ALONE = "/sys/fs/cgroup/cgroup.controllers"
_INTERVAL = 1.0
_TICK = 1_000_000_000 // 100  # nanoseconds of a USER_HZ, in which /proc/stat counts
_BLOCK_IO = (
    "io_service_bytes_recursive io_serviced_recursive io_queue_recursive io_service_time_recursive "
    "io_wait_time_recursive io_merged_recursive io_time_recursive sectors_recursive"
).split()


def run(places: "Places", message: "Message", answers: "Port", descriptors: "list[int]") -> "Message":
    """Return a sample; on the connection `descriptors[0]`, if there is one, answer with one every second, until the
    container is removed."""
    before: Json = {}
    if not descriptors:
        if not message["is_single"]:
            before = _sample(places, message)
            time.sleep(_INTERVAL if "pids_stats" in before else 0)
        return _described(message, before, _sample(places, message))
    answer = Answer(descriptors[0])
    answer.begin({"Content-Type": JSON})
    while os.path.isdir(places.container(message["id"])):
        sample = _sample(places, message)
        answer.write(json.dumps(_described(message, before, sample), separators=(",", ":")).encode() + b"\n")
        answer.flush()
        before = sample
        time.sleep(_INTERVAL)
    answer.end()
    return {}


def _described(message: "Message", before: "Json", sample: "Json") -> "Json":
    """Return the sample with what docker's CLI computes the usage of the CPU from: the one `before`."""
    idle = _cpu({"usage": {}, "throttling": {}})
    found = {"name": f"/{message['name']}", "id": message["id"], "read": ZERO, "preread": before.get("read", ZERO)}
    empty = {"pids_stats": {}, "blkio_stats": dict.fromkeys(_BLOCK_IO), "num_procs": 0, "storage_stats": {}}
    found.update(empty, cpu_stats=idle, precpu_stats=before.get("cpu_stats", idle), memory_stats={})
    return {**found, **sample}


def _sample(places: "Places", message: "Message") -> "Json":
    """Return what the container uses now; nothing if it does not run."""
    try:
        state = load(places.states, message["id"])
        if state.status() == "stopped":
            return {}
        found = statistics(state.cgroup())
        networks = {} if message["shares_network"] else _networks(state)
    except (Error, OSError):
        return {}  # it has ended
    pids, memory = found["pids"], found["memory"]
    return {
        "read": now(),
        "pids_stats": {"current": pids["current"], **({"limit": pids["limit"]} if pids["limit"] else {})},
        "blkio_stats": _block_io(found["blkio"]),
        "cpu_stats": {**_cpu(found["cpu"]), "system_cpu_usage": _machine_time(), "online_cpus": _cpus()},
        "memory_stats": _memory(memory),
        **({"networks": networks} if networks else {}),
    }


def _cpu(found: "Json") -> "Json":
    usage, throttling = found["usage"], found["throttling"]
    by_cpu = {"percpu_usage": usage["percpu"]} if "percpu" in usage else {}
    return {
        "cpu_usage": {
            "total_usage": usage.get("total", 0),
            **by_cpu,
            "usage_in_kernelmode": usage.get("kernel", 0),
            "usage_in_usermode": usage.get("user", 0),
        },
        "throttling_data": {
            "periods": throttling.get("periods", 0),
            "throttled_periods": throttling.get("throttledPeriods", 0),
            "throttled_time": throttling.get("throttledTime", 0),
        },
    }


def _memory(found: "Json") -> "Json":
    usage, machine = found["usage"], os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    most = {"max_usage": usage["max"]} if usage["max"] else {}
    return {"usage": usage["usage"], **most, "stats": found["raw"], "limit": min(usage["limit"] or machine, machine)}


def _block_io(found: "Json") -> "Json":
    entries = {
        "io_service_bytes_recursive": found["ioServiceBytesRecursive"],
        "io_serviced_recursive": found["ioServicedRecursive"],
    }
    nothing: list[Json] | None = None if os.path.exists(_V2_ALONE) else []  # as dockerd on v2, and on v1
    return {name: entries.get(name) or nothing for name in _BLOCK_IO}


def _networks(state: "State") -> "Json":
    """Return the counters of the interfaces in the container's network namespace."""
    found = {}
    for line in whole_file.read(f"/proc/{state.pid}/net/dev").decode("utf-8", "replace").splitlines()[2:]:
        name, _, numbers = line.partition(":")
        counts = list(map(int, numbers.split()))
        if name.strip() != "lo":
            found[name.strip()] = {
                f"{way}_{what}": counts[first + place]
                for way, first in (("rx", 0), ("tx", 8))
                for place, what in enumerate(("bytes", "packets", "errors", "dropped"))
            }
    return found


def _machine_time() -> int:
    """Return the nanoseconds that all CPUs have spent, idle or not: user to softirq in proc(5)."""
    first = whole_file.read("/proc/stat", 4096).split(b"\n", 1)[0]
    return sum(map(int, first.split()[1:8])) * _TICK


def _cpus() -> int:
    return os.sysconf("SC_NPROCESSORS_ONLN")
