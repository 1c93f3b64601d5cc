"""The linters are tests: what they find is mended before it is committed."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]


# write(2) may take a part of what it is given; these look at what it says.
MAY_WRITE = {
    "foundation/linux/whole_file.py",
    "pyrun/stdio/terminal.py",
    "pyrund/client/attachment.py",
    "pyrund/loop.py",
}


def test_no_module_leaves_the_result_of_a_write_unread():
    sources = (REPOSITORY / "runtime").rglob("*.py")
    found = {str(path.relative_to(REPOSITORY / "runtime")) for path in sources if "os.write(" in path.read_text()}

    assert found == MAY_WRITE


def test_no_two_files_of_tests_have_one_name():
    """pytest imports each as a module by its name alone, and refuses the second in a run of all."""
    names = [path.name for path in (REPOSITORY / "tests").rglob("test_*.py")]

    assert sorted(names) == sorted(set(names))


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
