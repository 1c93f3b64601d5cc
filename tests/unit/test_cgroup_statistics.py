"""The data of `events --stats` from a directory with the files of a v2 cgroup."""

import pytest

from foundation.linux import cpu_list
from pyrun.cgroup.group import Cgroup
from pyrun.cgroup.statistics import UNLIMITED, statistics

FILES = {
    "cgroup.controllers": "cpu io memory pids cpuset\n",
    "cpu.stat": "usage_usec 30\nuser_usec 20\nsystem_usec 10\nnr_periods 5\nnr_throttled 2\nthrottled_usec 7\n",
    "cpu.pressure": (
        "some avg10=1.50 avg60=0.00 avg300=0.00 total=42\nfull avg10=0.00 avg60=0.00 avg300=0.00 total=0\n"
    ),
    "memory.stat": "anon 1\nfile 4096\n",
    "memory.current": "8192\n",
    "memory.max": "16384\n",
    "memory.peak": "9000\n",
    "memory.events": "low 0\nmax 3\n",
    "memory.swap.current": "100\n",
    "memory.swap.max": "1000\n",
    "pids.current": "2\n",
    "pids.max": "max\n",
    "io.stat": "8:0 rbytes=1 wbytes=2 rios=3 wios=4 dbytes=5 dios=6\n7:1 \n",
    "cpuset.cpus": "0-1,3\n",
    "cpuset.mems": "\n",
}


@pytest.fixture
def data(tmp_path):
    for name, text in FILES.items():
        (tmp_path / name).write_text(text)
    return statistics(Cgroup({"": str(tmp_path)}))


def test_processor_time_is_in_nanoseconds(data):
    assert data["cpu"]["usage"] == {"total": 30000, "kernel": 10000, "user": 20000}
    assert data["cpu"]["throttling"] == {"periods": 5, "throttledPeriods": 2, "throttledTime": 7000}


def test_pressure_is_given_where_the_kernel_has_it(data):
    assert data["cpu"]["psi"]["some"] == {"avg10": 1.5, "avg60": 0, "avg300": 0, "total": 42}
    assert "psi" not in data["memory"]


def test_swap_includes_memory_as_on_v1(data):
    assert data["memory"]["usage"] == {"limit": 16384, "usage": 8192, "max": 9000, "failcnt": 3}
    assert data["memory"]["swap"] == {"limit": 17384, "usage": 8292, "max": 0, "failcnt": 0}


def test_no_swap_limit_stays_none(tmp_path):
    for name, text in {**FILES, "memory.swap.max": "max\n"}.items():
        (tmp_path / name).write_text(text)

    assert statistics(Cgroup({"": str(tmp_path)}))["memory"]["swap"]["limit"] == UNLIMITED


def test_block_io_is_a_list_by_device_and_operation(data):
    assert data["blkio"]["ioServicedRecursive"] == [
        {"major": 8, "minor": 0, "op": "Read", "value": 3},
        {"major": 8, "minor": 0, "op": "Write", "value": 4},
        {"major": 8, "minor": 0, "op": "Discard", "value": 6},
    ]


def test_no_pids_limit_is_0(data):
    assert data["pids"] == {"current": 2, "limit": 0}


def test_what_is_not_there_is_left_empty(tmp_path):
    (tmp_path / "cgroup.controllers").write_text("\n")
    data = statistics(Cgroup({"": str(tmp_path)}))

    assert data["memory"]["usage"] == {"limit": 0, "usage": 0, "max": 0, "failcnt": 0}
    assert data["hugetlb"] == {}


@pytest.mark.parametrize("text, numbers", [("", []), ("0", [0]), ("0-2,7", [0, 1, 2, 7])])
def test_a_list_of_processors_is_spelled_out(text, numbers):
    assert cpu_list.numbers(text) == numbers
