"""create, start, state, kill, delete, run, list: a container's life from end to end."""

import json
import os
import signal
import stat
import subprocess

import pytest
from harness import TIMEOUT, is_alive, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")


def test_a_created_container_waits(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo started"]
    container.create()

    assert container.status() == "created"
    assert container.output() == ""


def test_start_runs_the_program(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo started"]
    container.create().start().wait_until("stopped")

    assert container.output() == "started\n"


@pytest.mark.differs("crun", "1.8 tells the root as the config does")
def test_the_state_is_that_of_the_spec(container, bundle):
    bundle.config["annotations"] = {"org.example.key": "value"}
    state = container.sleeping().state()

    assert state["id"] == container.id
    assert state["status"] == "running"
    assert state["pid"] == container.pid()
    assert state["bundle"] == str(bundle.path)
    assert state["rootfs"] == str(bundle.rootfs)
    assert state["annotations"] == {"org.example.key": "value"}
    assert state["ociVersion"].startswith("1.")
    assert {"created", "owner"} <= state.keys()


@pytest.fixture
def told(bundle):
    """Have a hook of the container keep the state that it is told; return what reads it."""
    script = "cat > /tmp/state.json"
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    return lambda: json.loads((bundle.rootfs / "tmp/state.json").read_text())


@pytest.mark.proves("annotations")
def test_the_annotations_are_in_the_state_on_both_sides(container, bundle, told):
    annotations = {"org.example.a": "one", "org.example.b/c": 'with "quotes" and \u00e9', "empty": ""}
    bundle.config["annotations"] = annotations
    container.sleeping()

    assert container.state()["annotations"] == annotations
    assert told()["annotations"] == annotations


@pytest.mark.proves("ociVersion")
@pytest.mark.differs("crun", '1.8 tells "1.0" in its state')
@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.2.0+build", "1.3.0", "1.99.0"])
def test_the_version_is_one_that_the_runtime_supports(container, bundle, told, version):
    bundle.config["ociVersion"] = version
    container.sleeping()

    assert container.state()["ociVersion"].startswith("1.")
    assert told()["ociVersion"] == container.state()["ociVersion"]


@pytest.mark.proves("ociVersion")
@pytest.mark.differs("runc", "1.1 does not look at it")
@pytest.mark.differs("crun", "1.8 does not name the property")
@pytest.mark.parametrize("version", ["2.0.0", "0.9.0", "1.0", "latest", "1.02.0"])
def test_another_version_is_refused_and_nothing_is_made(container, bundle, version):
    bundle.config["ociVersion"] = version

    assert "ociVersion" in container.run_fails("true")
    assert not container.exists()


def test_a_stopped_container_has_no_pid(container):
    container.sleeping().works("kill", container.id, "KILL")
    state = container.wait_until("stopped").state()

    assert state.get("pid", 0) == 0


def test_the_pid_file_has_digits_alone(container):
    container.create()

    assert container.pid_file.read_bytes() == str(container.state()["pid"]).encode()


SMALL = pytest.mark.differs("crun", "1.8 knows no small letters")


@pytest.mark.parametrize(
    "name", ["TERM", "SIGTERM", pytest.param("term", marks=SMALL), pytest.param("sigterm", marks=SMALL), "15"]
)
def test_kill_knows_a_signal_by_any_of_its_names(container, bundle, name):
    bundle.process["args"] = ["sh", "-c", "trap 'echo term; exit' TERM; echo ready; while :; do sleep 0.05; done"]
    container.run_detached()
    wait_until(lambda: "ready" in container.output(), "the trap is set")
    container.works("kill", container.id, name)
    container.wait_until("stopped")

    assert container.output() == "ready\nterm\n"


def test_kill_sends_term_by_default(container, bundle):
    bundle.process["args"] = ["sh", "-c", "trap 'echo term; exit' TERM; echo ready; while :; do sleep 0.05; done"]
    container.run_detached()
    wait_until(lambda: "ready" in container.output(), "the trap is set")
    container.works("kill", container.id)
    container.wait_until("stopped")

    assert "term" in container.output()


@pytest.mark.differs("crun", "the wording is its own")
def test_kill_of_a_stopped_container_says_so(container):
    container.sleeping().works("kill", container.id, "KILL")
    container.wait_until("stopped")

    assert "container not running" in container.fails("kill", container.id, "KILL")


def test_kill_of_a_created_container_works(container):
    container.create().works("kill", container.id, "KILL")

    container.wait_until("stopped")


@pytest.mark.parametrize("name", ["TERM", "INT", "HUP", "QUIT"])
@pytest.mark.differs("crun", "1.8 waits as a program in C, which these do not end as pid 1")
def test_what_ends_a_program_of_go_ends_a_created_container(container, name):
    container.create().works("kill", container.id, name)

    container.wait_until("stopped")


def test_what_does_not_end_it_leaves_a_created_container_waiting(container):
    container.create().works("kill", container.id, "USR1")

    assert container.status() == "created"
    container.start()


@pytest.mark.differs("crun", "the wording is its own")
def test_signal_0_asks_whether_the_init_lives(container):
    container.sleeping().works("kill", container.id, "0")
    running = container.status()
    container.works("kill", container.id, "KILL")
    container.wait_until("stopped")

    assert running == "running"
    assert "not running" in container.fails("kill", container.id, "0")


@pytest.mark.differs("runc", "1.1 knows no names of real-time signals with a number")
@pytest.mark.parametrize(
    ("name", "number"), [("RTMIN", 34), ("RTMIN+3", 37), ("SIGRTMIN+3", 37), ("RTMAX-2", 62), ("SIGRTMAX", 64)]
)
def test_kill_knows_real_time_signals_by_name(container, bundle, name, number):
    trap = f"trap 'echo got {number}; exit' {number}"
    bundle.process["args"] = ["sh", "-c", f"{trap}; echo ready; while :; do sleep 0.05; done"]
    container.run_detached()
    wait_until(lambda: "ready" in container.output(), "the trap is set")
    container.works("kill", container.id, name)
    container.wait_until("stopped")

    assert container.output() == f"ready\ngot {number}\n"


@pytest.mark.only_pyrun("crun 1.8 sends nothing, and says nothing")
@pytest.mark.parametrize("name", ["RTMIN+31", "RTMAX-65", "RTMIN-1", "RTMIN+", "65", "RTMIN+3x", "SIG_IGN"])
def test_kill_knows_no_signals_that_there_are_not(container, name):
    assert "signal" in container.sleeping().fails("kill", container.id, name)


@pytest.mark.differs("crun", "1.8 says that it is not running")
@pytest.mark.differs("runc", "1.1 says that it is not running")
def test_kill_ends_what_the_init_of_a_shared_pid_namespace_has_left(container, bundle):
    bundle.without_namespace("pid")
    bundle.process["args"] = ["sh", "-c", "sleep 1000 & echo $!"]
    container.run_detached().wait_until("stopped")
    other = int(container.output())
    before = is_alive(other)
    container.works("kill", container.id, "KILL")

    assert before
    wait_until(lambda: not is_alive(other), "the other process is dead")
    assert "not running" in container.fails("kill", container.id, "KILL")


def test_kill_all_reaches_every_process_of_a_container_without_a_pid_namespace(container, bundle):
    bundle.without_namespace("pid")
    bundle.process["args"] = ["sh", "-c", "sleep 1000 & echo $!; exec sleep 1000"]
    container.run_detached()
    wait_until(lambda: container.output().strip(), "the other process runs")
    other = int(container.output())
    container.works("kill", "--all", container.id, "KILL")

    wait_until(lambda: not is_alive(other), "the other process is dead")


@pytest.mark.differs("crun", "the wording is its own")
def test_delete_of_a_running_container_is_refused(container):
    container.sleeping()

    message = container.fails("delete", container.id)

    assert f"cannot delete container {container.id} that is not stopped: running" in message
    assert container.status() == "running"


def test_delete_of_a_created_container_kills_it(container):
    container.create().delete()

    assert not is_alive(container.pid())
    assert not container.exists()


def test_delete_force_ends_what_runs(container):
    container.sleeping().delete("--force")

    assert not is_alive(container.pid())
    assert not container.exists()


def test_delete_force_of_nothing_is_well(container):
    container.delete("--force")


@pytest.mark.differs("crun", "1.8 fails where another has deleted it")
def test_deleting_at_the_same_time_is_well_for_all_who_force_it(container):
    container.sleeping()
    command = container.command("delete", "--force", container.id)
    deleting = [subprocess.Popen(command, stderr=subprocess.PIPE) for _ in range(8)]
    outcomes = [(one.communicate(timeout=TIMEOUT)[1], one.returncode) for one in deleting]

    assert outcomes == [(b"", 0)] * 8


def test_delete_removes_the_cgroups(container):
    container.sleeping()
    before = container.cgroups()
    container.delete("--force")

    assert before
    assert container.cgroups() == []


@pytest.mark.differs("crun", "the wording is its own")
@pytest.mark.parametrize("verb", ["state", "start", "kill", "delete", "ps", "pause", "resume"])
def test_what_does_not_exist_is_said_so(container, verb):
    container.root.mkdir(mode=0o700)

    assert "container does not exist" in container.fails(verb, container.id)


@pytest.mark.differs("crun", "the wording is its own")
def test_exec_of_what_does_not_exist_is_said_so(container):
    container.root.mkdir(mode=0o700)

    assert "container does not exist" in container.fails("exec", container.id, "true", status=255)


@pytest.mark.differs("crun", "the wording is its own")
def test_a_container_starts_once(container):
    container.sleeping()

    assert "cannot start an already running container" in container.fails("start", container.id)


@pytest.mark.differs("crun", "the wording is its own")
def test_a_stopped_container_does_not_start(container):
    container.create().works("kill", container.id, "KILL")
    container.wait_until("stopped")

    assert "cannot start a container that has stopped" in container.fails("start", container.id)


@pytest.mark.differs("crun", "the wording is its own")
def test_an_id_is_taken_once(container):
    container.create()

    message = container.fails("create", "--bundle", container.bundle.path, container.id)

    assert "container with given ID already exists" in message
    assert container.status() == "created"


def test_an_id_is_free_after_delete(container):
    container.create().delete()
    container.create()

    assert container.status() == "created"


def test_run_returns_the_exit_code(container, bundle):
    bundle.process["args"] = ["sh", "-c", "exit 7"]

    assert container.call("run", "--bundle", bundle.path, container.id).returncode == 7


@pytest.mark.parametrize("name", ["KILL", "TERM", "SEGV"])
def test_a_program_that_dies_by_a_signal_ends_with_128_and_its_number(container, bundle, name):
    bundle.without_namespace("pid")  # a namespace's first process is spared by the signals of the others
    bundle.process["args"] = ["sh", "-c", f"kill -{name} $$"]

    result = container.call("run", "--bundle", bundle.path, container.id)

    assert result.returncode == 128 + getattr(signal, f"SIG{name}")


def test_run_leaves_nothing(container):
    container.run("true")

    assert not container.exists()
    assert container.cgroups() == []


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 have no --keep")
def test_run_keeps_a_container_when_told_to(container):
    container.run("true", options=["--keep"])

    assert container.status() == "stopped"


def test_run_passes_standard_input_and_output(container):
    assert container.run("cat", input=b"from outside") == "from outside"


def test_run_keeps_standard_error_apart(container, bundle):
    bundle.process["args"] = ["sh", "-c", "echo out; echo err >&2"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert (result.stdout, result.stderr) == ("out\n", "err\n")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGUSR1])
def test_run_forwards_signals(container, bundle, number):
    name = number.name.removeprefix("SIG")
    bundle.process["args"] = ["sh", "-c", f"trap 'exit 42' {name}; echo ready; while :; do sleep 0.05; done"]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as runner:
        assert runner.stdout.readline() == b"ready\n"
        runner.send_signal(number)

        assert runner.wait(TIMEOUT) == 42


@pytest.mark.only_pyrun("the id is an argument that runc and crun demand")
def test_run_makes_an_id_up_and_prints_it_when_detached(container, bundle):
    bundle.process["args"] = ["sleep", "1000"]
    bundle.save()
    with open(container.output_file, "w") as output:
        command = container.command("run", "--detach", "--bundle", bundle.path)
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, timeout=TIMEOUT, check=True)
    id_ = container.output().strip()
    listed = container.works("list", "--quiet").split()
    container.works("delete", "--force", id_)

    assert [id_] == listed


@pytest.mark.only_pyrun("another command than the bundle's")
def test_run_takes_another_command(container, bundle):
    bundle.process["args"] = ["false"]

    assert container.works("run", "-b", bundle.path, container.id, "--", "echo", "-n", "--", "x") == "-- x"


@pytest.mark.only_pyrun("another command than the bundle's")
def test_run_takes_a_command_and_no_id(container, bundle):
    assert container.works("run", "-b", bundle.path, "--", "echo", "hello") == "hello\n"


@pytest.mark.only_pyrun("another command than the bundle's")
def test_run_with_nothing_after_the_dashes_is_refused(container, bundle):
    assert 'there is no command after "--"' in container.fails("run", "-b", bundle.path, container.id, "--")


def test_the_bundle_is_the_working_directory_by_default(container, bundle):
    bundle.process["args"] = ["echo", "here"]

    assert container.works("run", container.id, cwd=bundle.path) == "here\n"


@pytest.mark.differs("crun", "1.8 takes it from the bundle")
def test_the_pid_file_is_relative_to_the_caller(container, bundle, tmp_path):
    bundle.process["args"] = ["true"]
    container.works("run", "--bundle", bundle.path, "--pid-file", "relative.pid", container.id, cwd=tmp_path)

    assert (tmp_path / "relative.pid").read_text().isdigit()


def test_list_shows_what_there_is(new_container):
    running, created = new_container().sleeping(), new_container().create()
    listed = {one["id"]: one["status"] for one in json.loads(running.works("list", "--format", "json"))}

    assert listed == {running.id: "running", created.id: "created"}


@pytest.mark.differs("crun", "the columns differ")
def test_list_is_a_table_by_default(container):
    header, line = container.sleeping().works("list").splitlines()

    assert header.split() == ["ID", "PID", "STATUS", "BUNDLE", "CREATED", "OWNER"]
    words = line.split()
    assert words[:4] == [container.id, str(container.pid()), "running", str(container.bundle.path)]
    assert words[5] == "root"


def test_list_quiet_prints_ids(new_container):
    ids = sorted(new_container().create().id for _ in range(2))
    one = new_container()

    assert sorted(one.works("list", "--quiet").split()) == ids


def test_pause_stops_all_processes_and_resume_lets_them_go_on(container):
    container.sleeping().works("pause", container.id)
    paused = container.status()
    container.works("resume", container.id)

    assert (paused, container.status()) == ("paused", "running")


def test_a_paused_container_is_killed_by_delete_force(container):
    container.sleeping().works("pause", container.id)
    container.delete("--force")

    assert not is_alive(container.pid())


@pytest.mark.differs("crun", "1.8 says nothing")
@pytest.mark.differs("crun", "1.8 starts it, and waits until it is resumed")
def test_a_created_container_that_is_paused_does_not_start(container):
    container.create().works("pause", container.id)
    message = container.fails("start", container.id)
    paused = container.status()
    container.works("resume", container.id)

    assert "cannot start a container in the paused state" in message
    assert (paused, container.status()) == ("paused", "created")
    container.start()


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 do not thaw what the container has frozen")
@pytest.mark.skipif(not os.path.isdir("/sys/fs/cgroup/freezer"), reason="cgroup v1's freezer alone keeps from dying")
def test_what_the_container_has_frozen_itself_is_killed_by_delete_force(container):
    nested = container.sleeping().cgroup("freezer") / "nested"
    nested.mkdir()
    (nested / "cgroup.procs").write_text(str(container.pid()))
    (nested / "freezer.state").write_text("FROZEN")
    container.delete("--force")

    assert not is_alive(container.pid())


def test_resume_of_what_is_not_paused_is_refused(container):
    assert "not paused" in container.sleeping().fails("resume", container.id)


def test_pause_of_what_is_stopped_is_refused(container):
    container.sleeping().works("kill", container.id, "KILL")
    container.wait_until("stopped")

    assert "not running" in container.fails("pause", container.id)


@pytest.mark.only_pyrun("runc and crun leave the mode to the umask")
def test_the_state_directory_is_private(container):
    container.create()
    modes = [stat.S_IMODE(os.stat(path).st_mode) for path in (container.root, container.root / container.id)]

    assert modes == [0o700, 0o700]
