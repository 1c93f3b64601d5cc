"""All other tests of this folder, in virtual machines that have cgroup v2 alone, or systemd."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

HERE = Path(__file__).resolve().parent
REPOSITORY = HERE.parents[1]
VM_FAILED = 125
SECONDS = 1200


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.needs("root", "cgroup v1")
def test_everything_holds_on_v2_alone():
    """Two machines at once, each with half of the files: one has a single CPU."""
    files = sorted(path for path in HERE.glob("test_*.py") if path != Path(__file__).resolve())
    machines = [start(files[first::2]) for first in range(2)]
    check(machines)


@pytest.mark.timeout(SECONDS + 60)
@pytest.mark.needs("root", "cgroup v1")
def test_everything_that_needs_systemd_holds():
    check([start(sorted(HERE.glob("test_systemd_*.py")), "--systemd")])


def check(machines):
    outputs = [machine.communicate() for machine in machines]

    for machine, (output, complaint) in zip(machines, outputs):
        if machine.returncode == VM_FAILED and os.environ.get("CI") != "true":
            pytest.skip(f"no virtual machine: {complaint[-300:]}")
        assert machine.returncode == 0, output + complaint


def start(files, *options):
    vmrun = [
        f"{REPOSITORY}/tests/vmrun",
        *options,
        "--timeout",
        str(SECONDS),
        "--dir",
        REPOSITORY,
        "--share",
        sys.prefix,
        "--",
    ]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *files]
    # Not as continuous integration's own machine: this one lacks other things, and skips by name.
    environment = {**os.environ, "CI": ""}
    return subprocess.Popen(
        [*vmrun, *tests], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
