"""The linters are tests: what they find is mended before it is committed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


@pytest.mark.parametrize(
    "command", [("ruff", "check"), ("ruff", "format", "--check"), ("mypy", "--strict")], ids=" ".join
)
def test_the_linter_finds_nothing(command):
    program = shutil.which(command[0], path=f"{Path(sys.executable).parent}:/usr/bin")
    if program is None:
        pytest.skip(f"{command[0]} is not installed: tests/run installs it")
    arguments = [] if command[0] == "mypy" else ["."]
    result = subprocess.run([program, *command[1:], *arguments], cwd=REPOSITORY, capture_output=True, text=True)

    assert result.returncode == 0, result.stdout + result.stderr
