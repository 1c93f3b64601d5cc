"""Labels, in virtual machines whose kernels have the security modules that this machine lacks."""

import subprocess
import sys

import machine
import pytest
from harness import REPOSITORY

VM_FAILED = 125


@pytest.mark.needs("root")
@pytest.mark.parametrize("module", ["AppArmor", "SELinux"])
def test_labels_hold_where_the_module_is_at_work(module):
    if not machine.lacks(module):
        pytest.skip("test_labels.py shows it on this machine")
    vm = [f"{REPOSITORY}/tests/vmrun", "--timeout", "100", "--dir", REPOSITORY, "--share", sys.prefix]
    tests = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests/integration/test_labels.py"]
    result = subprocess.run([*vm, "--lsm", module.lower(), "--", *tests], capture_output=True, text=True)
    if result.returncode == VM_FAILED:
        pytest.skip(f"no virtual machine: {result.stderr[-300:]}")

    assert result.returncode == 0, result.stdout
    assert " passed" in result.stdout
