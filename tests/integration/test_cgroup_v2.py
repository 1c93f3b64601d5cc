"""Tests of cgroups in a virtual machine that has cgroup v2 alone."""

import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
REPOSITORY = os.path.dirname(os.path.dirname(HERE))
VM_FAILED = 125
FILES = [f"{HERE}/test_cgroup_files.py", f"{HERE}/test_delegated_cgroups.py"]


@pytest.mark.skipif(os.geteuid() != 0, reason="the virtual machine is started by root")
@pytest.mark.skipif(os.path.exists("/sys/fs/cgroup/cgroup.controllers"), reason="this machine has cgroup v2 alone")
def test_everything_holds_on_v2_alone():
    vm = [f"{REPOSITORY}/tests/vmrun", "--timeout", "300", "--dir", REPOSITORY, "--share", sys.prefix, "--"]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *FILES]
    result = subprocess.run(vm + tests, capture_output=True, text=True)
    if result.returncode == VM_FAILED:
        pytest.skip(f"no virtual machine: {result.stderr[-300:]}")

    assert result.returncode == 0, result.stdout
