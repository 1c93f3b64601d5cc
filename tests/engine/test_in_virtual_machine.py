"""Tests of engines that need a real systemd, or a kernel with NFS or ipvlan, in a virtual machine."""

from pathlib import Path

import pytest
import virtual_machine

SECONDS = 240

pytestmark = [pytest.mark.timeout(SECONDS + 60), pytest.mark.needs("root", "virtual machines")]


def test_engines_under_systemd_hold():
    tests = [Path(__file__).with_name("test_systemd_engine.py")]

    virtual_machine.check(virtual_machine.start(tests, "--systemd", "--cgroup", "unified", seconds=SECONDS))


@pytest.mark.needs("programs of NFS")
def test_volumes_of_other_machines_hold():
    virtual_machine.check(virtual_machine.start([Path(__file__).with_name("test_remote_volumes.py")], seconds=SECONDS))


def test_all_kinds_of_parents_hold():
    tests = [Path(__file__).with_name("test_kinds_of_parents.py")]

    virtual_machine.check(virtual_machine.start(tests, seconds=SECONDS))
