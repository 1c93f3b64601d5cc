"""What has its final name is whole also after the power fails; and what an older version left is found.

power_guest.py runs in a virtual machine, whose disk records every write, and looks at the disk as it was at random
moments. By default there are few of them, with --full fifty.
"""

import os
import subprocess
import sys

import pytest
from conftest import COMMAND, HERE, ROOT

SECONDS = 1200
VM_FAILED = 125
FEW, ALL = 2, 50

pytestmark = [
    pytest.mark.needs("root", "virtual machines", "dmsetup", "mkfs.ext4", "gcc"),
    pytest.mark.timeout(SECONDS + 60),
]


def lose_power(moments, preload=""):
    """Return the lines that power_guest.py prints."""
    vmrun = [f"{ROOT}/tests/vmrun", "--timeout", str(SECONDS), "--dir", ROOT, "--share", sys.prefix]
    share = ["--share", os.path.dirname(preload)] if preload else []
    guest = [sys.executable, f"{HERE}/power_guest.py", str(moments), "1", *COMMAND]
    environment = {**os.environ, "POWER_PRELOAD": str(preload)}
    done = subprocess.run([*vmrun, *share, "--", *guest], env=environment, capture_output=True, text=True)
    if done.returncode == VM_FAILED:
        pytest.skip(f"no virtual machine: {done.stderr[-300:]}")
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout.splitlines()


def test_nothing_is_short_after_the_power_failed_and_the_next_pull_mends_all(full):
    lines = lose_power(ALL if full else FEW)
    print(*lines, sep="\n")

    assert [line for line in lines if line.startswith("lost: ")] == []
    assert lines[-1].startswith("tried: ")


def test_without_waiting_for_the_disk_the_same_test_loses_something(compile_attacker):
    """The positive control: the same program, with a libc that does not sync."""
    lines = lose_power(FEW, str(compile_attacker("without_sync", "-shared", "-fPIC")))

    assert any(line.startswith("lost: ") for line in lines), lines
    assert lines[-1].startswith("tried: ")
