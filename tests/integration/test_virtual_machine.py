"""All other tests of this folder, in virtual machines that have cgroup v2 alone, or systemd."""

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
    files = sorted(HERE.glob("test_systemd_*.py"))

    virtual_machine.check(virtual_machine.start(files, "--systemd", seconds=SECONDS))
