"""The resources that a cgroup has used, in the JSON format of `runc events --stats`; missing files are left out.

On both versions the units are v1's: bytes, nanoseconds, and swap that includes memory.
"""

from foundation.linux import os
from foundation.linux.cpu_list import numbers
from pyrun.cgroup.controller import Controller
from pyrun.cgroup.group import Cgroup

TYPE_CHECKING = False  # as in typing, without its 4 ms
if TYPE_CHECKING:
    from typing import Any

UNLIMITED = (1 << 64) - 1


def statistics(cgroup: Cgroup) -> "dict[str, Any]":
    """Return the "data" of `runc events --stats`. Values whose files are missing are 0 or empty."""
    return {
        "cpu": _cpu(cgroup),
        "cpuset": _cpuset(_controller(cgroup, "cpuset")),
        "memory": _memory(cgroup),
        "pids": _pids(_controller(cgroup, "pids")),
        "blkio": _block_io(cgroup),
        "hugetlb": _hugetlb(_controller(cgroup, "hugetlb")),
        "intel_rdt": {},
        "network_interfaces": None,
    }


class _Files(Controller):
    """A controller whose missing files read as "", 0 or {}."""

    def text(self, name: str) -> str:
        """Return a file's text, "" if it cannot be read."""
        try:
            return self.read(name)
        except OSError:
            return ""  # the kernel or the cgroup does not have the file, or PSI is switched off (EOPNOTSUPP)

    def number(self, name: str) -> int:
        """Return the number in a file; "max" is UNLIMITED."""
        text = self.text(name)
        return UNLIMITED if text == "max" else int(text or 0)

    def table(self, name: str) -> "dict[str, int]":
        """Return a file of "key value" lines."""
        rows = [line.split() for line in self.text(name).splitlines()]
        return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}

    def pressure(self, name: str) -> "dict[str, dict[str, float]] | None":
        """Return a PSI file, with lines "some avg10=0.00 avg60=0.00 avg300=0.00 total=0"; None if it is missing."""
        found: dict[str, dict[str, float]] = {}
        for line in self.text(name).splitlines():
            kind, *values = line.split()
            pairs = [value.partition("=") for value in values]
            found[kind] = {key: int(value) if key == "total" else float(value) for key, _, value in pairs}
        return found or None


def _controller(cgroup: Cgroup, *names: str) -> _Files:
    """Return the first controller that exists; if none does, one whose files are all missing."""
    for name in names:
        found = cgroup.controller(name)
        if found:
            return _Files(found.directory, found.v2)
    return _Files("/nonexistent", v2=cgroup.v2_only)


def _cpu(cgroup: Cgroup) -> "dict[str, Any]":
    cpu = _controller(cgroup, "cpu", "")
    stat = cpu.table("cpu.stat")
    if cpu.v2:
        usage: dict[str, Any] = {
            "total": stat.get("usage_usec", 0) * 1000,
            "kernel": stat.get("system_usec", 0) * 1000,
            "user": stat.get("user_usec", 0) * 1000,
        }
        throttled = stat.get("throttled_usec", 0) * 1000
    else:
        usage = _v1_cpu_usage(_controller(cgroup, "cpuacct"))
        throttled = stat.get("throttled_time", 0)
    throttling = {
        "periods": stat.get("nr_periods", 0),
        "throttledPeriods": stat.get("nr_throttled", 0),
        "throttledTime": throttled,
    }
    return _with_pressure({"usage": usage, "throttling": throttling}, cgroup, "cpu.pressure")


def _v1_cpu_usage(cpuacct: _Files) -> "dict[str, Any]":
    # The first line is the heading "cpu user system".
    by_cpu = [[int(number) for number in line.split()] for line in cpuacct.text("cpuacct.usage_all").splitlines()[1:]]
    return {
        "total": cpuacct.number("cpuacct.usage"),
        "percpu": [int(number) for number in cpuacct.text("cpuacct.usage_percpu").split()],
        "percpu_kernel": [system for _, _, system in by_cpu],
        "percpu_user": [user for _, user, _ in by_cpu],
        "kernel": cpuacct.number("cpuacct.usage_sys"),
        "user": cpuacct.number("cpuacct.usage_user"),
    }


def _cpuset(cpuset: _Files) -> "dict[str, Any]":
    found: dict[str, Any] = {"cpus": numbers(cpuset.text("cpuset.cpus"))}
    found["mems"] = numbers(cpuset.text("cpuset.mems"))
    for name in (
        "cpu_exclusive",
        "mem_hardwall",
        "mem_exclusive",
        "memory_migrate",
        "memory_spread_page",
        "memory_spread_slab",
        "memory_pressure",
        "sched_load_balance",
        "sched_relax_domain_level",
    ):
        found[name] = cpuset.number(f"cpuset.{name}")  # v1 only; 0 on v2, as in runc
    return found


def _memory(cgroup: Cgroup) -> "dict[str, Any]":
    memory = _controller(cgroup, "memory")
    found = _v2_memory(memory) if memory.v2 else _v1_memory(memory)
    return _with_pressure(found, cgroup, "memory.pressure")


def _v1_memory(memory: _Files) -> "dict[str, Any]":
    stat = memory.table("memory.stat")
    return {
        "cache": stat.get("cache", 0),
        "usage": _v1_entry(memory, "memory"),
        "swap": _v1_entry(memory, "memory.memsw"),
        "kernel": _v1_entry(memory, "memory.kmem"),
        "kernelTCP": _v1_entry(memory, "memory.kmem.tcp"),
        "raw": stat,
    }


def _v2_memory(memory: _Files) -> "dict[str, Any]":
    stat = memory.table("memory.stat")
    usage = _v2_entry(memory, "memory")
    swap = _v2_entry(memory, "memory.swap")
    swap["usage"] += usage["usage"]
    swap["limit"] = UNLIMITED if UNLIMITED in (swap["limit"], usage["limit"]) else swap["limit"] + usage["limit"]
    return {
        "cache": stat.get("file", 0),
        "usage": usage,
        "swap": swap,
        "kernel": {"limit": 0, "failcnt": 0},
        "kernelTCP": {"limit": 0, "failcnt": 0},
        "raw": stat,
    }


def _v1_entry(memory: _Files, name: str) -> "dict[str, int]":
    return {
        "limit": memory.number(f"{name}.limit_in_bytes"),
        "usage": memory.number(f"{name}.usage_in_bytes"),
        "max": memory.number(f"{name}.max_usage_in_bytes"),
        "failcnt": memory.number(f"{name}.failcnt"),
    }


def _v2_entry(memory: _Files, name: str) -> "dict[str, int]":
    return {
        "limit": memory.number(f"{name}.max"),
        "usage": memory.number(f"{name}.current"),
        "max": memory.number(f"{name}.peak"),
        "failcnt": memory.table(f"{name}.events").get("max", 0),
    }


def _pids(pids: _Files) -> "dict[str, int]":
    limit = pids.number("pids.max")
    return {"current": pids.number("pids.current"), "limit": 0 if limit == UNLIMITED else limit}


def _block_io(cgroup: Cgroup) -> "dict[str, Any]":
    block_io = _controller(cgroup, "blkio", "io")
    rows = [line.split() for line in block_io.text("io.stat").splitlines()]
    if block_io.v2:
        bytes_ = io_entries(rows, {"rbytes": "Read", "wbytes": "Write", "dbytes": "Discard"})
        operations = io_entries(rows, {"rios": "Read", "wios": "Write", "dios": "Discard"})
    else:
        bytes_ = _v1_entries(block_io, "io_service_bytes_recursive")
        operations = _v1_entries(block_io, "io_serviced_recursive")
    found: dict[str, Any] = {"ioServiceBytesRecursive": bytes_, "ioServicedRecursive": operations}
    return _with_pressure(found, cgroup, "io.pressure")


def _v1_entries(block_io: _Files, name: str) -> "list[dict[str, Any]]":
    """Return the lines "8:0 Read 4096" of BFQ, or if it is not the scheduler, of the throttling policy."""
    text = block_io.text(f"blkio.bfq.{name}")
    if ":" not in text:
        text = block_io.text(f"blkio.throttle.{name}")
    found = []
    for line in text.splitlines():
        device, *rest = line.split()
        if ":" in device and len(rest) == 2:  # the last line is the total
            major, minor = device.split(":")
            found.append({"major": int(major), "minor": int(minor), "op": rest[0], "value": int(rest[1])})
    return found


def io_entries(rows: "list[list[str]]", operations: "dict[str, str]") -> "list[dict[str, Any]]":
    """Return runc's entries for lines of io.stat, "8:0 rbytes=4096 wbytes=0 ...", with keys in `operations`."""
    found = []
    for device, *values in rows:
        major, minor = device.split(":")
        for key, _, value in (value.partition("=") for value in values):
            if key in operations:
                found.append({"major": int(major), "minor": int(minor), "op": operations[key], "value": int(value)})
    return found


def _hugetlb(hugetlb: _Files) -> "dict[str, dict[str, int]]":
    """Return the usage by page size, in reserved pages if the kernel counts them (Linux 5.7): they meet the limit."""
    found = {}
    for size in _page_sizes():
        name = f"hugetlb.{size}.rsvd"
        if not hugetlb.has(f"{name}.{'current' if hugetlb.v2 else 'usage_in_bytes'}"):
            name = f"hugetlb.{size}"
        if hugetlb.v2 and hugetlb.has(f"{name}.current"):
            failures = hugetlb.table(f"hugetlb.{size}.events").get("max", 0)
            found[size] = {"usage": hugetlb.number(f"{name}.current"), "failcnt": failures}
        elif hugetlb.has(f"{name}.usage_in_bytes"):
            entry = _v1_entry(hugetlb, name)
            del entry["limit"]
            found[size] = entry
    return found


def _page_sizes() -> "list[str]":
    """Return the kernel's huge page sizes in the form of hugetlb's file names: "2MB"."""
    try:
        names = os.listdir("/sys/kernel/mm/hugepages")
    except FileNotFoundError:
        return []  # a kernel without huge pages
    return [_size(int(name[len("hugepages-") : -len("kB")])) for name in sorted(names)]


def _size(kilobytes: int) -> str:
    for unit, factor in (("GB", 1 << 20), ("MB", 1 << 10)):
        if kilobytes >= factor:
            return f"{kilobytes // factor}{unit}"
    return f"{kilobytes}KB"


def _with_pressure(found: "dict[str, Any]", cgroup: Cgroup, name: str) -> "dict[str, Any]":
    """Add the PSI of the v2 hierarchy, which has it even if the controller itself is in a v1 hierarchy."""
    pressure = _controller(cgroup, "").pressure(name)
    if pressure:
        found["psi"] = pressure
    return found
