"""Commands about one container at the same time: each succeeds or says in one line why not, and nothing is left.

The counts are printed (-rP shows them).
"""

import os
import random
import re
import signal
import subprocess
import time

import pytest
from harness import cgroups_named, is_alive, wait_until
from hostile import HANG

pytestmark = [pytest.mark.usefixtures("host_mounts"), pytest.mark.timeout(3600)]

GONE = r"container does not exist: \S+"
STOPPED = "container not running|cannot (exec in|start) a (stopped container|container that has stopped)"
# A process that is killed on its way into the container, or whose init is.
KILLED = r"(process|container init) (was killed by signal 9|ended) before its program ran.*"
GATE = r"cannot start container \S+: its init is not waiting: .*"


@pytest.fixture
def at_once(machine, directory):
    """Run commands, one a little after the other, and return [(status, standard error)] when all have ended."""
    choose = random.Random(12)
    errors = directory / "errors"
    errors.mkdir()

    def at_once(*lines, latest=0.05):
        running = []
        for number, line in enumerate(lines):
            with open(errors / str(number), "w") as file:  # no pipe: a created container keeps it open
                streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": file}
                running.append(subprocess.Popen(machine.command(*line), **streams))
            time.sleep(choose.uniform(0, latest))
        told = [(one.wait(4 * HANG), (errors / str(number)).read_text()) for number, one in enumerate(running)]
        for _, said in told:
            assert "Traceback" not in said and said.count("\n") <= 1, said
        return told

    return at_once


@pytest.fixture
def rounds(full):
    """How often each race is run; one with a command more, or one less, is another."""
    count = 300 if full else 5
    yield range(count)
    print(f"{count} rounds")


def says(told, *sentences):
    """Tell whether a command succeeded, or failed with one of these."""
    status, said = told
    known = "|".join(sentences)
    return status == 0 or re.fullmatch(f"error: (exec failed: )?({known})\n", said) is not None


def is_gone(machine, id_):
    deleted = machine.pyrun("delete", "--force", id_)
    assert deleted.returncode == 0, deleted.stderr
    assert not os.path.exists(f"{machine.root}/{id_}")
    assert cgroups_named(id_) == []
    return True


def test_of_fifty_creators_of_one_id_one_succeeds(bundle, machine, at_once, full):
    bundle.process["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    for _ in range(20 if full else 1):
        id_ = machine.new_id()
        told = at_once(*[["create", "--bundle", bundle.path, id_]] * 50, latest=0.001)

        assert sorted(status for status, _ in told) == [0] + [1] * 49
        taken = {f"error: container with given ID already exists: {id_}\n"}
        assert {said for status, said in told if status} == taken
        assert machine.state(id_)["status"] == "created"
        assert is_gone(machine, id_)


def test_a_container_that_is_killed_while_it_starts_runs_or_has_ended(bundle, machine, at_once, rounds):
    for _ in rounds:
        id_ = machine.create(bundle, "sleep 1000")
        pid = machine.state(id_)["pid"]
        started, killed = at_once(["start", id_], ["kill", id_, "KILL"])

        assert says(started, STOPPED, KILLED, GATE), started
        assert killed == (0, "")
        wait_until(lambda pid=pid: not is_alive(pid), "the init has ended")
        assert is_gone(machine, id_)


def test_of_two_that_start_one_container_one_succeeds(bundle, machine, at_once, rounds):
    for _ in rounds:
        id_ = machine.create(bundle, "sleep 1000")
        told = at_once(["start", id_], ["start", id_], latest=0.01)

        assert sorted(told) == [(0, ""), (1, "error: cannot start an already running container\n")]
        assert machine.state(id_)["status"] == "running"
        assert is_gone(machine, id_)


def test_a_container_that_is_deleted_while_a_process_enters_it_is_gone(bundle, machine, at_once, rounds):
    for _ in rounds:
        id_ = machine.start(bundle)
        entered, deleted = at_once(["exec", id_, "sleep", "1000"], ["delete", "--force", id_])

        status, said = entered
        ended_with_it = (status, said) == (128 + signal.SIGKILL, "")
        assert ended_with_it or (status == 255 and says(entered, GONE, STOPPED, KILLED)), entered
        assert deleted == (0, "")
        assert is_gone(machine, id_)


def test_processes_that_enter_a_container_that_ends_end_too(bundle, machine, at_once, rounds):
    for _ in rounds:
        id_ = machine.start(bundle, "sleep 0.1")
        told = at_once(*[["exec", id_, "sleep", "1000"]] * 3, latest=0.06)

        for status, said in told:
            ended_with_it = (status, said) == (128 + signal.SIGKILL, "")
            assert ended_with_it or (status == 255 and says((status, said), STOPPED, KILLED)), (status, said)
        assert is_gone(machine, id_)


@pytest.mark.parametrize("force", [[], ["--force"]], ids=["stopped", "forced"])
def test_two_that_delete_one_container_both_end_well_or_find_none(bundle, machine, at_once, rounds, force):
    for _ in rounds:
        id_ = machine.start(bundle, "sleep 1000" if force else "true")
        wait_until(lambda id_=id_: force or machine.state(id_)["status"] == "stopped", "it has stopped")
        told = at_once(*[["delete", *force, id_]] * 2, latest=0.02)

        assert 0 in [status for status, _ in told]
        assert all(says(one, GONE) for one in told), told
        assert not force or [status for status, _ in told] == [0, 0]
        assert is_gone(machine, id_)


def test_a_container_that_is_paused_while_a_process_enters_it_goes_on_when_resumed(bundle, machine, rounds):
    for round_ in rounds:
        id_ = machine.start(bundle)
        command = machine.command("exec", id_, "true")
        streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
        entering = subprocess.Popen(command, text=True, **streams)
        time.sleep(0.06 * round_ / len(rounds))
        paused = machine.pyrun("pause", id_)
        status = machine.state(id_)["status"]
        resumed = machine.pyrun("resume", id_)
        said = entering.communicate(timeout=HANG)[1]

        assert (paused.returncode, status, resumed.returncode) == (0, "paused", 0), paused.stderr
        refused = "error: exec failed: cannot exec in a paused container (use --ignore-paused to override)\n"
        assert (entering.returncode, said) in [(0, ""), (255, refused)]
        assert is_gone(machine, id_)
