"""No files import each other in a circle, and all imports go down the order that DESIGN.md gives.

Files in a circle are really one file, whose parts cannot be read one after the other. The graph has all imports of the
text, also those inside functions: an import that waits until it is needed only hides a circle. It does not have the
modules that `main` finds by the name of a verb.
"""

import ast
import re
from pathlib import Path

from harness import REPOSITORY

RUNTIME = REPOSITORY / "runtime"


class Graph:
    """The imports among the files below `directory`, {module: modules}: those at run time, and all."""

    def __init__(self, directory: Path):
        paths = {_name(path.relative_to(directory)): path for path in sorted(directory.rglob("*.py"))}
        self.at_run_time = {name: set() for name in paths}
        self.all = {name: set() for name in paths}
        for name, path in paths.items():
            for node, is_for_types in _imports(ast.parse(path.read_text())):
                imported = {one for one in _targets(node, paths) if one != name}
                self.all[name] |= imported
                if not is_for_types:
                    self.at_run_time[name] |= imported


def _name(path):
    return ".".join(path.with_suffix("").parts).removesuffix(".__init__")


def _imports(tree, is_for_types=False):
    """Yield (an import statement, whether it is below `if TYPE_CHECKING`)."""
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            yield node, is_for_types
        elif isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING":
            yield from _imports(ast.Module(node.body, []), True)
            yield from _imports(ast.Module(node.orelse, []), is_for_types)
        else:
            yield from _imports(node, is_for_types)


def _targets(node, names):
    """Return those of `names` that the statement imports: a package itself only where what it takes is no module."""
    if isinstance(node, ast.Import):
        return {alias.name for alias in node.names} & set(names)
    assert node.level == 0, "a relative import"
    members = {f"{node.module}.{alias.name}" for alias in node.names}
    return {member if member in names else node.module for member in members} & set(names)


def circles(graph):
    """Return the sets of modules that all reach each other, each as its sorted names in a string."""
    reached = {name: _reach(graph, name) for name in graph}
    found = {tuple(sorted(other for other in reached[name] if name in reached[other])) for name in graph}
    return sorted(" ".join(names) for names in found if names)


def _reach(graph, start):
    """Return what `start` imports, and what that imports; `start` too if it comes back to it."""
    reached, waiting = set(), [start]
    while waiting:
        new = graph[waiting.pop()] - reached
        reached |= new
        waiting += new
    return reached


def test_no_files_import_each_other_in_a_circle():
    assert circles(Graph(RUNTIME).at_run_time) == []


def test_no_files_need_each_other_s_types_in_a_circle():
    assert circles(Graph(RUNTIME).all) == []


def order(program):
    """Return {"program.name": level} of the files and folders in DESIGN.md's order, the highest first."""
    text = (REPOSITORY / "DESIGN.md").read_text()
    levels = re.search(rf"^ +{program}: +(.*(?:\n +->.*)*)", text, re.MULTILINE)[1].split("->")
    return {f"{program}.{name}": level for level, names in enumerate(levels) for name in re.findall(r"\w+", names)}


def upward(graph, levels):
    """Return "importer imported" for the imports that do not lead to a lower level, or stay in a folder."""
    found = []
    for name in graph:
        for imported in graph[name]:
            ours, theirs = (".".join(one.split(".")[:2]) for one in (name, imported))
            is_of_program = "." in ours and not ours.endswith(".__main__") and "." in theirs
            if (
                is_of_program
                and ours.split(".")[0] == theirs.split(".")[0]
                and ours != theirs
                and levels[ours] >= levels[theirs]
            ):
                found.append(f"{name} {imported}")
    return sorted(found)


def test_imports_go_down_the_order_of_the_design():
    programs = [order(program) for program in ("pyrund", "pyrun", "pyfetch", "foundation")]
    levels = {name: level for levels in programs for name, level in levels.items()}
    levels.update({"pack.compiler": 0, "pack.loader": 0})

    assert upward(Graph(RUNTIME).at_run_time, levels) == []


def test_the_programs_share_the_foundation_and_only_the_engine_uses_the_others():
    packages = {name: name.split(".")[0] for name in Graph(RUNTIME).all}
    shared = {(packages[name], packages[one]) for name, names in Graph(RUNTIME).all.items() for one in names}

    assert shared <= {(one, one) for one in packages.values()} | {
        ("pyrun", "foundation"),
        ("pyfetch", "foundation"),
        ("pyrund", "foundation"),
        ("pyrund", "pyrun"),
        ("pyrund", "pyfetch"),
        ("pack", "pyrun"),  # its description of a program is what man pages are made of
    }


def test_imports_that_go_up_are_found():
    levels = {"p.high": 0, "p.beside": 0, "p.low": 1}
    graph = {"p.high": {"p.low.a"}, "p.low.a": {"p.low.b", "p"}, "p.low.b": {"p.high"}, "p.beside": {"p.high"}}

    assert upward(graph, levels) == ["p.beside p.high", "p.low.b p.high"]


def test_circles_are_found(tmp_path):
    (tmp_path / "pack").mkdir()
    files = {
        "pack/__init__.py": "",
        "pack/a.py": "from pack import b",
        "pack/b.py": "def late():\n    from pack.c import name",
        "pack/c.py": "import pack.a\nname = 1",
        "pack/d.py": "TYPE_CHECKING = False\nif TYPE_CHECKING:\n    from pack.e import E",
        "pack/e.py": "import pack.d, os",
    }
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    graph = Graph(tmp_path)

    assert circles(graph.at_run_time) == ["pack.a pack.b pack.c"]
    assert circles(graph.all) == ["pack.a pack.b pack.c", "pack.d pack.e"]
