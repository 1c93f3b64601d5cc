"""What other folders call has a docstring, for what its signature cannot say."""

import ast
from pathlib import Path

import pytest
from harness import REPOSITORY

FOLDERS = ["foundation/linux", "pyrun/rootfs", "pyrun/cgroup", "pyrun/stub", "pyrun/namespaces"]


def undocumented(body, prefix=""):
    """Yield the names of public functions in `body`, and in its public classes, that have no docstring."""
    for node in body:
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
            if isinstance(node, ast.ClassDef):
                yield from undocumented(node.body, f"{prefix}{node.name}.")
            elif not ast.get_docstring(node):
                yield prefix + node.name


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_public_function_has_a_docstring(folder):
    files = list(Path(REPOSITORY / "runtime" / folder).glob("*.py"))
    found = {path.name: list(undocumented(ast.parse(path.read_text()).body)) for path in files}

    assert len(files) > 5
    assert {name: names for name, names in found.items() if names} == {}


def test_a_method_and_a_function_without_one_are_found():
    code = "def f(): pass\ndef _g(): pass\nclass C:\n    def m(self): pass\n    def n(self):\n        'text'"

    assert list(undocumented(ast.parse(code).body)) == ["f", "C.m"]
