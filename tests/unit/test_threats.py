"""The tables of tests/security/README.md: every threat has a row, and every test and advisory that is named exists."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).resolve().parent.parent
TABLES = (TESTS / "security/README.md").read_text()
IDS = [f"R{n}" for n in range(1, 35)] + [f"P{n}" for n in range(1, 11)] + [f"F{n}" for n in range(1, 27)]
ADVISORY = re.compile(r"CVE-20\d\d-\d+|GHSA(?:-[0-9a-z]{4}){3}")
SOURCES = {
    path: path.read_text()
    for folder in ("unit", "integration", "registry", "security")
    for path in TESTS.glob(f"{folder}/*.py")
}
DEFINED = {name for text in SOURCES.values() for name in re.findall(r"^def (test_\w+)\(", text, re.MULTILINE)}


def rows(title):
    """Return the cells of each row of the table below the heading."""
    section = TABLES.partition(f"\n## {title}\n")[2].partition("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in lines[2:]]


def test_every_threat_has_one_row_with_a_test():
    found = [cells[0] for cells in rows("Attacks")]

    assert sorted(found) == sorted(IDS)
    assert [cells[0] for cells in rows("Attacks") if "`test_" not in cells[2]] == []


def test_every_row_says_what_each_runtime_does():
    assert [cells[0] for cells in rows("Attacks") if len(cells) != 6 or not all(cells)] == []


def test_every_test_that_is_named_exists():
    named = set(re.findall(r"`(test_\w+)`", TABLES))

    assert len(named) > 100
    assert named - DEFINED == set()


def test_every_advisory_is_tried_or_has_a_reason():
    for name, answer in (cells[:2] for cells in rows("Advisories")):
        assert "`test_" in answer or "does not concern" in answer or re.search(r"\b[RPF]\d", answer), name


def test_every_advisory_that_a_test_names_has_a_row():
    tried = {
        one for path, text in SOURCES.items() if path.name != Path(__file__).name for one in ADVISORY.findall(text)
    }
    listed = {one for cells in rows("Advisories") for one in ADVISORY.findall(cells[0])}

    assert tried - listed == set()


def test_no_module_but_libc_uses_ctypes():
    """P7: every call has types and a checked result; no library is looked up by name."""
    using = {
        path.name
        for folder in ("foundation", "pyrun", "pyfetch", "pyrund")
        for path in (TESTS.parent / "runtime" / folder).rglob("*.py")
        if re.search(r"^\s*(import|from) _?ctypes|find_library", path.read_text(), re.MULTILINE)
    }

    assert using == {"libc.py"}


@pytest.mark.parametrize("document", ["SECURITY.md", "doc/hardening.md", "README.md", "tests/security/README.md"])
def test_the_links_between_the_documents_lead_somewhere(document):
    path = TESTS.parent / document
    for target in re.findall(r"\]\(([^):#]+)\)", path.read_text()):
        assert (path.parent / target).exists(), target
