"""The numbers of the README about the code."""

import ast
import re
import statistics
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]


def test_the_sizes_of_modules_and_functions_are_those_of_the_readme():
    sources = [path.read_text() for path in (REPOSITORY / "runtime/pyrun").rglob("*.py")]
    median = statistics.median(len(source.splitlines()) for source in sources)
    nodes = (node for source in sources for node in ast.walk(ast.parse(source)))
    longest = max(node.end_lineno - node.lineno + 1 for node in nodes if isinstance(node, ast.FunctionDef))

    text = " ".join((REPOSITORY / "README.md").read_text().split())
    told = re.search(r"the median module of pyrun has (\d+) lines, the longest function (\d+)", text)

    assert told
    assert tuple(map(int, told.groups())) == (round(median), longest)
