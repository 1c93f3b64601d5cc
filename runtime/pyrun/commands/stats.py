"""pyrun stats: the resource usage of containers, as a live table."""

import sys
import time

from foundation.encode import encode
from foundation.errors import Error, reason
from foundation.linux import os
from pyrun import log
from pyrun.cgroup.statistics import statistics
from pyrun.container.state import Container, load, load_all

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from pyrun.options import Settings

_FIRST, _INTERVAL = 0.5, 1.0  # seconds between two samples; the CPU usage is computed from their difference
_TITLES = ("ID", "CPU %", "MEM USAGE / LIMIT", "MEM %", "PIDS", "IO READ / WRITE", "PRESSURE CPU MEM IO %")
_UNITS = ("B", "KiB", "MiB", "GiB", "TiB", "PiB")
_PARTS = {"cpu": "cpu", "memory": "memory", "io": "blkio"}  # the part of the statistics that has the pressure
_NO_LIMIT = 1 << 62  # without a limit v1 reports about 1 << 63, and v2 "max", which is UNLIMITED here
_HOME, _CLEAR_LINE, _CLEAR_BELOW = "\x1b[H", "\x1b[K", "\x1b[J"  # console_codes(4)


def run(settings: "Settings", *ids: str, no_stream: bool = False, format: str = "table") -> int:
    """Print until ^C, or until none of the named containers runs. For each that does not exist, print an error."""
    named, status = _named(settings, ids)
    try:
        _follow(settings, named if ids else None, no_stream, format)
    except KeyboardInterrupt:
        print()  # the shell's prompt goes below the table
    except BrokenPipeError:
        pass  # the reader has closed the pipe
    return status


def _named(settings: "Settings", ids: "tuple[str, ...]") -> "tuple[list[Container], int]":
    """Return the running containers among `ids`, and the exit code."""
    found, status = [], 0
    for id_ in dict.fromkeys(ids):
        try:
            found.append(load(settings.root, id_))
            if found[-1].status() == "stopped":
                raise Error(f"container with id {id_} is not running")
        except (Error, OSError) as error:
            log.error(reason(error))
            status = 1
    return found, status


def _follow(settings: "Settings", named: "list[Container] | None", no_stream: bool, format: str) -> None:
    """Print the containers `named`, or if that is None, at each moment all that run."""
    before = _samples(settings, named)
    pause = _FIRST
    while before or named is None:
        time.sleep(pause)
        now = _samples(settings, named)
        rows = [_row(id_, before[id_], now[id_]) for id_ in now if id_ in before]
        _show(rows, format, live=not no_stream and sys.stdout.isatty())
        if no_stream:
            return
        before, pause = now, _INTERVAL


def _samples(settings: "Settings", named: "list[Container] | None") -> "dict[str, tuple[int, dict[str, Any]]]":
    """Return (time in ns, statistics) of each running container, by id."""
    if named is None:
        named = load_all(settings.root) if os.path.isdir(settings.root) else []
    return {
        container.id: (time.monotonic_ns(), statistics(container.cgroup()))
        for container in named
        if container.status() != "stopped"
    }


def _row(id_: str, before: "tuple[int, dict[str, Any]]", now: "tuple[int, dict[str, Any]]") -> "dict[str, Any]":
    """Return the row of a container, as --format json prints it."""
    (earlier, old), (later, new) = before, now
    used = new["cpu"]["usage"]["total"] - old["cpu"]["usage"]["total"]
    memory, pids = new["memory"], new["pids"]
    # Inactive page cache is not counted, because the kernel can drop it at any time.
    raw = memory["raw"]
    usage = max(0, memory["usage"]["usage"] - raw.get("total_inactive_file", raw.get("inactive_file", 0)))
    limit = memory["usage"]["limit"]
    return {
        "id": id_,
        "cpuPercent": round(100 * used / (later - earlier), 2),
        "memory": {"usage": usage, "limit": limit if 0 < limit < _NO_LIMIT else None},
        "pids": {"current": pids["current"], "limit": pids["limit"] or None},
        "io": {"read": _io(new, "Read"), "write": _io(new, "Write")},
        "pressure": {name: _pressure(new[part]) for name, part in _PARTS.items()},
    }


def _io(stats: "dict[str, Any]", operation: str) -> int:
    entries = stats["blkio"]["ioServiceBytesRecursive"]
    return sum(entry["value"] for entry in entries if entry["op"] == operation)


def _pressure(part: "dict[str, Any]") -> "float | None":
    """Return the percentage of the last ten seconds in which some process waited, None if the kernel has no PSI."""
    some = part.get("psi", {}).get("some")
    return some["avg10"] if some else None


def _show(rows: "list[dict[str, Any]]", format: str, live: bool) -> None:
    if format == "json":
        lines = [encode(row) for row in rows]
    else:
        lines = _table([_TITLES, *map(_texts, rows)])
    if live and format == "table":
        width = os.get_terminal_size(1).columns or None  # 0 if nobody has set it
        lines = [_HOME, *(line[:width] + _CLEAR_LINE for line in lines), _CLEAR_BELOW]
        print(lines[0] + "\n".join(lines[1:]), end="", flush=True)
    elif lines:
        print("\n".join(lines), flush=True)


def _table(rows: "list[tuple[str, ...]]") -> "list[str]":
    widths = [max(len(row[column]) for row in rows) for column in range(len(_TITLES))]
    return ["   ".join(text.ljust(width) for text, width in zip(row, widths)).rstrip() for row in rows]


def _texts(row: "dict[str, Any]") -> "tuple[str, ...]":
    memory, pids, io = row["memory"], row["pids"], row["io"]
    limit = memory["limit"] or _machine_memory()
    pressure = ["-" if value is None else f"{value:.1f}" for value in row["pressure"].values()]
    return (
        row["id"],
        f"{row['cpuPercent']:.2f}",
        f"{_size(memory['usage'])} / {_size(limit)}",
        f"{100 * memory['usage'] / limit:.2f}",
        f"{pids['current']}" + (f" / {pids['limit']}" if pids["limit"] else ""),
        f"{_size(io['read'])} / {_size(io['write'])}",
        " ".join(pressure),
    )


def _machine_memory() -> int:
    return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def _size(number: float) -> str:
    for unit in _UNITS:
        if number < 1024 or unit == _UNITS[-1]:
            break
        number /= 1024
    return f"{number:.0f}{unit}" if unit == "B" else f"{number:.1f}{unit}"
