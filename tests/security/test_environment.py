"""The caller's environment: it neither steers the interpreter, nor reaches the container (CVE-2021-3602)."""

import os
from pathlib import Path

import pytest

PYTHON = {
    "PYTHONPATH": "{trap}",
    "PYTHONHOME": "{trap}",
    "PYTHONSTARTUP": "{trap}/json.py",
    "PYTHONINSPECT": "1",
    "PYTHONWARNINGS": "error",
    "PYTHONIOENCODING": "rot13",
    "PYTHONMALLOC": "debug",
    "PYTHONDEVMODE": "1",
    "PYTHONVERBOSE": "1",
    "PYTHONUSERBASE": "{trap}",
    "PYTHONPLATLIBDIR": "{trap}",
    "PYTHONEXECUTABLE": "{trap}/python",
    "PYTHONOPTIMIZE": "2",
    "PYTHONBREAKPOINT": "json.loads",
    "PYTHONTRACEMALLOC": "10",
    "PYTHONUTF8": "0",
    "PYTHONCOERCECLOCALE": "warn",
    "PYTHONNODEBUGRANGES": "1",
}


@pytest.fixture
def trap(directory):
    trap = directory / "trap"
    trap.mkdir()
    for name in ("json", "os", "errno", "fcntl", "sitecustomize"):
        (trap / f"{name}.py").write_text(f"open({str(trap / 'mark')!r}, 'w')")
    yield trap
    assert not (trap / "mark").exists()


@pytest.mark.parametrize("name", PYTHON)
def test_a_variable_of_the_interpreter_changes_nothing(bundle, machine, trap, name):
    environment = {"PATH": os.environ["PATH"], name: PYTHON[name].format(trap=trap)}

    result = machine.run(bundle, "echo ran", env=environment, cwd=trap)

    assert (result.stdout, result.stderr) == ("ran\n", "")


@pytest.mark.parametrize("environment", [{}, {"LANG": "C"}, {"LC_ALL": "POSIX"}, {"HOME": ""}, {"PATH": ""}])
def test_a_poor_environment_is_enough(bundle, machine, environment):
    result = machine.run(bundle, "echo ran", env=environment)

    assert (result.stdout, result.stderr) == ("ran\n", "")


def test_an_argument_of_exec_that_is_not_text_arrives_in_a_poor_environment_too(bundle, machine):
    id_ = machine.start(bundle)

    result = machine.exec(id_, "echo", os.fsdecode(b"\xff"), env={"LANG": "C"})

    assert (result.returncode, os.fsencode(result.stdout), result.stderr) == (0, b"\xff\n", "")


@pytest.mark.peers
@pytest.mark.falls("crun", "its waiting init has it")
@pytest.mark.parametrize("pid_namespace", ["own", "host's"])
def test_the_callers_environment_is_in_no_process_of_the_container_and_not_in_its_state(bundle, machine, pid_namespace):
    environment = {"PATH": os.environ["PATH"], "SECRET": "hunter2", "LD_LIBRARY_PATH": "/hunter2"}
    if pid_namespace != "own":
        bundle.without_namespace("pid")
    id_ = machine.create(bundle, "cat /proc/self/environ; sleep 100", env=environment)
    pid = machine.state(id_)["pid"]
    waiting = Path(f"/proc/{pid}/environ").read_bytes()
    machine.pyrun("start", id_, env=environment)

    executed = machine.pyrun("exec", id_, "cat", "/proc/self/environ", env=environment)

    assert b"hunter2" not in waiting + Path(f"/proc/{pid}/environ").read_bytes()
    assert "hunter2" not in executed.stdout
    assert b"hunter2" not in Path(f"{machine.root}/{id_}/state.json").read_bytes()


def test_a_hook_in_the_container_gets_none_of_the_callers_environment(bundle, machine):
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "/bin/env >/environment"]}]}

    machine.run(bundle, "true", env={"PATH": os.environ["PATH"], "SECRET": "hunter2"})

    assert "hunter2" not in (bundle.rootfs / "environment").read_text()
