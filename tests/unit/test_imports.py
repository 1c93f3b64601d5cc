"""Start-up is a feature: no verb loads a slow module. integration/test_startup.py is about real containers."""

import ast
import shutil

import pytest
from harness import REPOSITORY
from startup import SLOW, modules_of

from pyrun.options import VERBS

# module: the slow one that it imports, and why
EXCEPTIONS = {
    "foundation/node.py": ("json", "to say in which line and column a file is no JSON"),
    "pyrun/commands/delete.py": ("re", "for --regex, which is an option for people"),
}


def slow_imports(path):
    """Return the slow modules that the file imports when it runs, be it at its top or in a function."""
    tree = ast.parse(path.read_text())
    for node in ast.walk(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            node.body.clear()
    names = {alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names}
    names |= {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)}
    return {name.partition(".")[0] for name in names} & SLOW


def test_no_file_of_pyrun_or_the_foundation_imports_a_slow_module_at_any_time():
    runtime = REPOSITORY / "runtime"
    files = [*(runtime / "pyrun").rglob("*.py"), *(runtime / "foundation").rglob("*.py")]
    found = {str(path.relative_to(runtime)): slow_imports(path) for path in files}

    assert {path: names for path, names in found.items() if names} == {
        path: {name} for path, (name, _) in EXCEPTIONS.items()
    }


def test_pyfetch_uses_the_foundation_s_os_everywhere():
    assert not [path for path in (REPOSITORY / "runtime/pyfetch").rglob("*.py") if "os" in slow_imports(path)]


def arguments_of(usage):
    """Return arguments that fit `usage`: as few as there must be, the names of containers in any case."""
    words = [word.strip("[]").rstrip(".") for word in usage.split() if not word.startswith("[") or "ID" in word]
    return ["missing" if word == "ID" else word.partition("|")[0] for word in words]


@pytest.mark.parametrize("verb", VERBS)
def test_the_help_of_a_verb_loads_nothing_slow(verb):
    status, _, modules = modules_of(verb, "--help")

    assert status == 0
    assert "pyrun.commands.help" in modules
    assert SLOW & modules == set()


@pytest.mark.parametrize("verb", VERBS)
def test_a_verb_loads_nothing_slow_where_there_is_no_container(verb, tmp_path):
    shutil.copy(REPOSITORY / "spec-fixtures/config/valid/docker.json", tmp_path / "config.json")
    if verb == "spec":
        (tmp_path / "config.json").unlink()

    status, output, modules = modules_of("--root", tmp_path / "root", verb, *arguments_of(VERBS[verb][0]), cwd=tmp_path)

    assert status in (0, 1, 255), output
    assert "Traceback" not in output
    assert '" requires ' not in output
    assert f"pyrun.commands.{verb}" in modules
    assert SLOW & modules == set()


def test_a_config_that_is_no_json_loads_what_finds_the_fault(tmp_path):
    (tmp_path / "config.json").write_text("{")

    _, _, modules = modules_of("validate", cwd=tmp_path)

    assert "json" in SLOW & modules
