"""The man pages that build_zipapp.py makes of the tables."""

import os
import re
import subprocess

import pytest
from harness import REPOSITORY

from pyrun.options import GLOBAL, VERBS

READS = re.compile(r'os\.environ(?:ment)?(?:\.get\(|\[)"(\w+)"|"(\w+)" (?:not )?in os\.environ|_base\(\'(\w+)\'')
pytestmark = pytest.mark.only_pyrun("has other man pages")


@pytest.fixture(scope="module", params=["pyrun", "pyfetch", "pyrund"])
def page(request):
    return REPOSITORY / f"dist/{request.param}.1"


def test_mandoc_finds_nothing_wrong(page):
    result = subprocess.run(["mandoc", "-Tlint", page], capture_output=True, text=True)
    found = result.stdout + result.stderr

    # No date: the same sources give the same page, whenever.
    assert [line for line in found.splitlines() if "missing date" not in line] == []


@pytest.mark.needs("man")
def test_man_shows_it(page):
    environment = {**os.environ, "MANPAGER": "cat", "LC_ALL": "C.UTF-8"}
    result = subprocess.run(["man", "-l", page], capture_output=True, text=True, env=environment)

    assert (result.returncode, result.stderr) == (0, "")
    assert page.stem in result.stdout


def roff(name):
    return f"--{name}".replace("-", r"\-")


def test_it_has_every_verb_option_and_example_of_pyrun():
    source = (REPOSITORY / "dist/pyrun.1").read_text()

    for verb, (_, options, _) in VERBS.items():
        section = source.partition(f".SS pyrun {verb} ")[2] or source.partition(f".SS pyrun {verb}\n")[2]
        section = section.partition(".SS")[0]
        assert all(rf"\fB{roff(name)}\fR" in section for name in options), verb
        assert "Example:" in section, verb
    assert all(rf"\fB{roff(name)}\fR" in source for name in GLOBAL)


def test_it_says_how_a_command_ends_and_which_variables_the_program_reads(page):
    source = page.read_text().replace(r"\-", "-")
    sources = [path.read_text() for path in (REPOSITORY / "runtime" / page.stem).rglob("*.py")]
    read = {name for text in sources for names in READS.findall(text) for name in names if name}

    assert len(read) > 4
    assert [
        name for name in sorted(read) if not re.search(rf"\b{name}\b", source.partition(".SH ENVIRONMENT")[2])
    ] == []
    assert re.findall(r"^\.SH (.*)", source, re.MULTILINE)[-4:] == ["EXIT STATUS", "ENVIRONMENT", "FILES", "SEE ALSO"]
    assert "128+N" in source.partition(".SH EXIT STATUS")[2]


def test_an_optional_value_is_shown(page):
    assert (r"\fB\-\-overlay\fR[=DIR]" in page.read_text()) == (page.stem == "pyrun")
