"""state, kill and delete find and end a container by this package, and nearly all their time is imports."""

import subprocess
import sys

import pyrun

SLOW = {
    "ctypes",
    "enum",
    "json",
    "math",
    "re",
    "signal",
    "subprocess",
    "pyrun.cgroup.driver",
    "pyrun.cgroup.resources",
    "foundation.linux.libc",
}


def test_killing_and_removing_a_cgroup_imports_nothing_slow():
    program = f"""
import sys
sys.path.insert(0, {pyrun.__path__[0]!r} + "/..")
from pyrun.cgroup.group import Cgroup
group = Cgroup({{"": "/nonexistent"}})
group.processes(), group.frozen(), group.kill(), group.remove()
print(*sys.modules)
"""
    loaded = subprocess.run([sys.executable, "-IS", "-c", program], capture_output=True, text=True, check=True)

    assert SLOW & set(loaded.stdout.split()) == set()
