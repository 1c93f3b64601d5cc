"""Labels, in virtual machines whose kernels have the security modules that this machine lacks."""

import machine
import pytest
import virtual_machine
from harness import REPOSITORY


@pytest.mark.needs("root", "virtual machines")
@pytest.mark.parametrize("module", ["AppArmor", "SELinux"])
def test_labels_hold_where_the_module_is_at_work(module):
    if not machine.lacks(module):
        pytest.skip("test_labels.py shows it on this machine")
    tests = [f"{REPOSITORY}/tests/integration/test_labels.py"]

    virtual_machine.check(virtual_machine.start(tests, "--lsm", module.lower(), seconds=100))
