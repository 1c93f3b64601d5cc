"""Completion, in the real shells: what is typed, with a tab at its end, and what the line is then."""

import os
import pty
import select
import shlex
import subprocess
import time

import pytest

pytestmark = pytest.mark.only_pyrun("has no completion")

PATIENCE = 30
START = {
    "bash": (["bash", "--norc", "--noprofile", "-i"], "bind 'set enable-bracketed-paste off'"),
    "zsh": (["zsh", "-f", "-i"], "bindkey -e; autoload -U compinit; compinit -u -D"),
}
VERBS = [
    ("pyrun pau", "pyrun pause "),
    ("pyrun --root {root} feat", "pyrun --root {root} features "),
    ("pyrun run --console-s", "pyrun run --console-socket"),
    ("pyrun list --format j", "pyrun list --format json "),
    ("pyrun completion zs", "pyrun completion zsh "),
    ("pyrun help resu", "pyrun help resume "),
    ("pyrun --root {root} state web-o", "pyrun --root {root} state web-one "),
    ("pyrun --root={root} delete -f web-one web-t", "pyrun --root={root} delete -f web-one web-two "),
    ("pyrun --root {root} exec -t web-o", "pyrun --root {root} exec -t web-one "),
]


class Shell:
    """An interactive shell on a terminal of its own."""

    def __init__(self, name, runtime, home):
        command, setup = START[name]
        environment = {"PATH": f"{runtime.parent}:/usr/bin:/bin", "HOME": str(home), "TERM": "dumb", "PS1": "$ "}
        self.pid, self.terminal = pty.fork()
        if self.pid == 0:
            os.chdir(home)
            os.execvpe(command[0], command, environment)
        self.read = ""
        self.type(f"{setup}; stty cols 1000; source <(pyrun completion {name}); echo re''ady\n")
        self.wait_for("ready")

    def type(self, text):
        os.write(self.terminal, text.encode())

    def wait_for(self, text):
        end = time.monotonic() + PATIENCE
        while text not in self.read:
            left = end - time.monotonic()
            assert left > 0 and select.select([self.terminal], [], [], left)[0], f"no {text!r} in {self.read!r}"
            self.read += os.read(self.terminal, 65536).decode("utf-8", "replace")

    def line_of(self, typed):
        """Return what the line is after a tab: it is made an argument of printf before it is entered."""
        self.read = ""
        self.type(f"{typed}\t\x01printf '<%s>\\n' \"\x05\"\n")
        self.wait_for("\n<")
        self.wait_for(">")
        return self.read.rpartition("\n<")[2].partition(">")[0]

    def close(self):
        os.close(self.terminal)
        os.kill(self.pid, 9)
        os.waitpid(self.pid, 0)


@pytest.fixture
def two(new_container):
    containers = [new_container(), new_container()]
    containers[0].id, containers[1].id = "web-one", "web-two"
    return [one.create() for one in containers]


@pytest.mark.parametrize("name", START)
def test_a_tab_completes_verbs_options_values_and_ids(name, runtime, tmp_path, two):
    lines = [tuple(text.format(root=two[0].root) for text in pair) for pair in VERBS]
    shell = Shell(name, runtime, tmp_path)
    try:
        found = [shell.line_of(typed) for typed, _ in lines]
    finally:
        shell.close()

    assert [line.rstrip() for line in found] == [line.rstrip() for _, line in lines]


def test_fish_completes_verbs_options_values_and_ids(runtime, tmp_path, two):
    lines = [tuple(text.format(root=two[0].root) for text in pair) for pair in VERBS]
    script = "pyrun completion fish | source\n" + "".join(
        f"complete -C {shlex.quote(typed)} | string split -f 1 \\t | head -n 1\n" for typed, _ in lines
    )
    environment = {"PATH": f"{runtime.parent}:/usr/bin:/bin", "HOME": str(tmp_path)}
    result = subprocess.run(["fish", "--no-config"], input=script, env=environment, capture_output=True, text=True)

    assert result.stderr == ""
    assert result.stdout.splitlines() == [line.split()[-1] for _, line in lines]


@pytest.mark.parametrize("name", ["bash", "zsh", "fish"])
def test_no_id_is_offered_for_a_container_that_is_to_be_made(name, runtime):
    script = subprocess.run([runtime, "completion", name], capture_output=True, text=True, check=True).stdout

    assert "create" in script
    for verb in ("create", "restore"):
        assert not [line for line in script.splitlines() if verb in line.split() and "_ids" in line]


def test_an_unknown_shell_is_refused_with_those_that_there_are(container):
    message = container.fails("completion", "fisch")

    assert message == "error: no completion for the shell \"fisch\": did you mean 'fish'?: bash, zsh or fish"


def test_the_scripts_know_every_verb():
    from pyrun.commands.completion import program
    from pyrun.completion import bash, fish, zsh
    from pyrun.options import VERBS

    for shell in (bash, zsh, fish):
        assert all(verb in shell.script(program()) for verb in VERBS), shell
