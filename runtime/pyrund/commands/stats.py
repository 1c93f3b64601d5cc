"""pyrund stats."""

import sys

from foundation.linux import os
from foundation.sizes import human_binary
from pyrund.client.listing import listed
from pyrund.client.output import short, size
from pyrund.client.server import flags, quoted
from pyrund.errors import ApiError

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrund.client.server import Server
    from pyrund.options import Options

    Json = dict[str, Any]

_COLUMNS = "{{.ID}}\t{{.Name}}\t{{.CPUPerc}}\t{{.MemUsage}}\t{{.MemPerc}}\t{{.NetIO}}\t{{.BlockIO}}\t{{.PIDs}}"
_HEADERS = {
    "Container": "CONTAINER",
    "ID": "CONTAINER ID",
    "Name": "NAME",
    "CPUPerc": "CPU %",
    "MemUsage": "MEM USAGE / LIMIT",
    "MemPerc": "MEM %",
    "NetIO": "NET I/O",
    "BlockIO": "BLOCK I/O",
    "PIDs": "PIDS",
}
_HOME = "\x1b[H\x1b[J"  # the upper left corner, and nothing below it


def run(server: "Server", words: "list[str]", options: "Options") -> int:
    """Show samples, each of which takes the daemon a second, until the command is interrupted."""
    for name in words:
        server.call("GET", f"/containers/{quoted(name)}/json")
    is_redrawn = not options.get("no_stream") and os.isatty(1)
    while True:
        names = words or _names(server, bool(options.get("all")))
        rows = [_row(sample, bool(options.get("no_trunc"))) for sample in _samples(server, names)]
        text = listed(rows, _HEADERS, options.get("format", ""), _COLUMNS)
        print(_HOME if is_redrawn else "", text, sep="", end="", flush=True)
        if options.get("no_stream"):
            return 0


def _names(server: "Server", shows_all: bool) -> "list[str]":
    return [one["Id"] for one in server.call("GET", "/containers/json", flags(all=shows_all))]


def _samples(server: "Server", names: "list[str]") -> "list[Json]":
    """Return a sample of each container; all are taken at once."""
    asked = [server.request("GET", f"/containers/{quoted(name)}/stats", {"stream": 0}) for name in names]
    found = []
    for connection in asked:
        try:
            found += list(server.answer(connection).values())
        except ApiError as error:
            if error.status != 404:  # it was removed meanwhile
                print(f"Error response from daemon: {error}", file=sys.stderr)
    return found


def _row(sample: "Json", is_whole: bool) -> "Json":
    memory = sample.get("memory_stats") or {}
    used, limit = _used(memory), memory.get("limit") or 0
    networks = (sample.get("networks") or {}).values()
    received, sent = (sum(one[name] for one in networks) for name in ("rx_bytes", "tx_bytes"))
    blocks = (sample.get("blkio_stats") or {}).get("io_service_bytes_recursive") or []
    read, written = (sum(one["value"] for one in blocks if one["op"][:1].lower() == letter) for letter in "rw")
    id_ = short(sample["id"], is_whole)
    return {
        "BlockIO": f"{size(read)} / {size(written)}",
        "CPUPerc": f"{_cpu(sample):.2f}%",
        "Container": id_,
        "ID": id_,
        "MemPerc": f"{100 * used / limit if limit else 0:.2f}%",
        "MemUsage": f"{human_binary(used)} / {human_binary(limit)}",
        "Name": sample["name"].lstrip("/"),
        "NetIO": f"{size(received)} / {size(sent)}",
        "PIDs": str((sample.get("pids_stats") or {}).get("current") or 0),
    }


def _used(memory: "Json") -> int:
    """Return the memory in use without the page cache that could be dropped at once."""
    usage, stats = memory.get("usage") or 0, memory.get("stats") or {}
    inactive = stats.get("total_inactive_file", stats.get("inactive_file", 0))
    return int(usage - inactive if inactive < usage else usage)


def _cpu(sample: "Json") -> float:
    """Return the CPU time since the earlier sample in percent; 100 % is one CPU."""
    now, before = sample["cpu_stats"], sample["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - before["cpu_usage"]["total_usage"]
    passed = (now.get("system_cpu_usage") or 0) - (before.get("system_cpu_usage") or 0)
    return 100 * used / passed * (now.get("online_cpus") or 1) if used > 0 and passed > 0 else 0.0
