"""All other tests of this folder, in virtual machines that have cgroup v2 alone, or systemd with either version."""

from pathlib import Path

import pytest
import virtual_machine

HERE = Path(__file__).resolve().parent
SECONDS = 1200

pytestmark = [pytest.mark.timeout(SECONDS + 60), pytest.mark.needs("root", "cgroup v1", "virtual machines")]


def test_everything_holds_on_v2_alone():
    """Two machines at once, each with half of the files: one has a single CPU."""
    files = sorted(path for path in HERE.glob("test_*.py") if path != Path(__file__).resolve())

    virtual_machine.check(*[virtual_machine.start(files[first::2], seconds=SECONDS) for first in range(2)])


def test_everything_that_needs_systemd_holds():
    """Three machines at once: v2 alone, v1 with v2 beside it, and v1 alone for what differs there."""
    tests = "v1 or runc or in_a_scope or joins or leaves or moment"
    virtual_machine.check(with_systemd("unified"), with_systemd("hybrid"), with_systemd("legacy", "-k", tests))


def test_all_controllers_work(full):
    """The packaged kernel has no memory and no cpuset for v1, and no weights of I/O: this one is built first."""
    if not full:
        pytest.skip("only with --full")

    files = [HERE / "test_update.py", HERE / "test_resources.py"]
    v2 = virtual_machine.start(files, "--kernel", "smp", seconds=SECONDS)
    virtual_machine.check(v2, *(with_systemd(layout, kernel="smp") for layout in ("hybrid", "legacy")))


def test_core_scheduling_and_rdma_work(full):
    """Debian's kernels have neither core scheduling nor a device for RDMA that is software: one is built first."""
    if not full:
        pytest.skip("only with --full")
    files = [HERE / "test_annotations.py", HERE / "test_resources.py"]

    options = ["--kernel", "core", "--cpus", "2", "--threads", "2"]
    virtual_machine.check(virtual_machine.start(files, *options, seconds=SECONDS))


def with_systemd(layout, *selection, kernel="uml"):
    files = sorted(HERE.glob("test_systemd_*.py"))
    options = ("--systemd", "--cgroup", layout, "--kernel", kernel)
    return virtual_machine.start([*files, *selection], *options, seconds=SECONDS)
