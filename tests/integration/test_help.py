"""Help that teaches: its examples work when pasted, and what is misspelt is told with what was meant."""

import os
import subprocess

import pytest
from harness import TIMEOUT

from pyrun.commands.help import TEXTS
from pyrun.options import VERBS

pytestmark = pytest.mark.only_pyrun("has other help")

# Needs a terminal of its own, or what not every machine has: its own tests show that it works.
NOT_PASTED = {"checkpoint", "restore"}


@pytest.fixture(scope="module")
def shell(runtime, tmp_path_factory):
    """Paste lines into bash, where the example of `spec` has made a bundle."""
    directory = tmp_path_factory.mktemp("examples")
    wrapper = directory / "bin/pyrun"
    wrapper.parent.mkdir()
    wrapper.write_text(f'#!/bin/sh\nexec {runtime} --root {directory}/state "$@"\n')
    wrapper.chmod(0o755)

    def paste(lines, where=""):
        output = directory / "output"  # a file: what a container inherits stays open
        with open(output, "w") as file:
            environment = {"PATH": f"{wrapper.parent}:/usr/bin:/bin", "HOME": str(directory)}
            ended = subprocess.run(
                ["bash", "-e"], input=lines.encode(), stdout=file, stderr=file, cwd=directory / where,
                env=environment, timeout=TIMEOUT,
            )  # fmt: skip
        return ended.returncode, output.read_text()

    assert paste(TEXTS["spec"][1]) == (0, "hello\n")
    return paste


@pytest.mark.parametrize("verb", sorted(VERBS.keys() - NOT_PASTED - {"spec"}))
def test_the_example_of_a_verb_works_when_pasted(shell, verb):
    # Another name, since that of the cgroup is the same for all of a machine.
    status, output = shell(TEXTS[verb][1].replace("web", f"web{os.getpid()}"), "box")
    left = shell("pyrun list -q", "box")[1]
    shell("pyrun list -q | xargs -r pyrun delete -f")

    assert (status, left) == (0, ""), output


@pytest.mark.parametrize("ask", [("help", "run"), ("run", "--help"), ("run", "-h")])
def test_help_shows_usage_options_and_example(container, ask):
    text = container.works(*ask)

    assert text.startswith("Usage: pyrun run [options] [ID] [-- CMD...]\n")
    assert "  -d, --detach " in text
    assert text.endswith("    pyrun run --overlay -- echo hello\n")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["strat", "x"], "\"strat\" is not a command of pyrun: did you mean 'start'?"),
        (["help", "stat"], "\"stat\" is not a command of pyrun: did you mean 'state'?"),
        (["frobnicate"], '"frobnicate" is not a command of pyrun: see pyrun --help'),
        (["run", "--detatch"], "flag provided but not defined: -detatch: did you mean '--detach'?"),
        (["--rot=/x", "list"], "flag provided but not defined: -rot: did you mean '--root'?"),
        (["list", "--zzz"], "flag provided but not defined: -zzz: see --help"),
        (["list", "--format", "jsn"], "invalid format option \"jsn\": table or json: did you mean 'json'?"),
        (["--log-format=tex", "list"], "invalid log-format \"tex\": text or json: did you mean 'text'?"),
        (["list", "--root", "/x"], "flag provided but not defined: -root: it stands before the command"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else "",
)
def test_what_is_misspelt_is_told_with_what_was_meant(runtime, words, message):
    result = subprocess.run([runtime, *words], capture_output=True, text=True)

    assert (result.returncode, result.stderr) == (1, f"error: {message}\n")


@pytest.mark.parametrize("typed", ["Web-frontend", "web", "web-fronted", "wbe-frontend"])
def test_a_misspelt_id_is_told_with_the_one_that_was_meant(container, typed):
    container.id = "web-frontend"
    container.create()

    message = container.fails("state", typed)
    assert message == f"error: container does not exist: {typed}: did you mean 'web-frontend'?"


def test_an_id_like_no_other_gets_no_suggestion(container):
    container.create()

    assert container.fails("state", "zzz") == "error: container does not exist: zzz"


def test_a_verb_does_not_load_the_help(runtime):
    statement = "import sys; sys.path.insert(0, 'runtime'); import pyrun.cli, pyrun.commands.state; print(*sys.modules)"
    loaded = subprocess.run(["/usr/bin/python3", "-IS", "-c", statement], capture_output=True, text=True).stdout

    assert "pyrun.commands.state" in loaded
    assert "pyrun.commands.help" not in loaded
