"""exec and ps: another process in a container that runs."""

import json
import os
import signal
import subprocess

import pytest
from harness import TIMEOUT, is_alive, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")


@pytest.fixture
def running(container):
    return container.sleeping()


def test_exec_runs_a_program_in_all_namespaces(running):
    inside = running.exec("sh", "-c", "for one in mnt pid net ipc uts; do readlink /proc/1/ns/$one; done").split()
    own = running.exec("sh", "-c", "for one in mnt pid net ipc uts; do readlink /proc/self/ns/$one; done").split()

    assert inside == own


def test_exec_returns_the_exit_code(running):
    assert running.call("exec", running.id, "sh", "-c", "exit 9").returncode == 9


def test_exec_of_what_a_signal_kills_returns_128_and_its_number(running):
    assert running.call("exec", running.id, "sh", "-c", "kill -9 $$").returncode == 137


def test_exec_passes_standard_streams(running):
    result = running.call("exec", running.id, "sh", "-c", "cat; echo err >&2", input=b"in")

    assert (result.stdout, result.stderr) == ("in", "err\n")


@pytest.mark.differs("crun", "1.8 ignores the config's cwd")
def test_exec_has_the_containers_environment_and_directory(container, bundle):
    bundle.process["env"] += ["MARK=config"]
    bundle.process["cwd"] = "/tmp"

    assert container.sleeping().exec("sh", "-c", "echo $MARK; pwd") == "config\n/tmp\n"


@pytest.mark.differs("runc", "1.1 takes -e or --env, not both")
@pytest.mark.differs("crun", "1.8 has no --additional-gids")
def test_the_options_of_exec_change_the_process(running):
    options = ["--cwd", "/bin", "--env", "A=1", "-e", "B=2", "--user", "1000:2000", "--additional-gids", "3000"]
    output = running.exec("sh", "-c", "pwd; echo $A$B; id -u; id -g; id -G", options=options)

    assert output.split() == ["/bin", "12", "1000", "2000", "2000", "3000"]


def test_exec_takes_a_process_as_json(running, tmp_path):
    process = {**running.bundle.process, "args": ["sh", "-c", "pwd; echo $X; id -u"], "cwd": "/tmp"}
    process |= {"env": ["PATH=/bin", "X=json"], "user": {"uid": 7, "gid": 7}}
    (tmp_path / "process.json").write_text(json.dumps(process))

    assert running.works("exec", "--process", tmp_path / "process.json", running.id).split() == ["/tmp", "json", "7"]


def test_exec_has_the_capabilities_of_the_container(running):
    status = running.exec("cat", "/proc/self/status")

    assert f"CapEff:\t{1 << 29 | 1 << 5 | 1 << 10:016x}" in status


@pytest.mark.differs("crun", "1.8 does not add it to the others")
def test_exec_can_have_another_capability(running):
    status = running.exec("cat", "/proc/self/status", options=["--cap", "CAP_CHOWN"])

    assert f"CapEff:\t{1 << 29 | 1 << 5 | 1 << 10 | 1:016x}" in status
    assert f"CapInh:\t{0:016x}" in status


def test_exec_joins_the_cgroups(running):
    of_init, of_exec = (
        dict(line.split(":", 2)[1:] for line in text.splitlines())
        for text in (running.proc("cgroup"), running.exec("cat", "/proc/self/cgroup"))
    )

    assert of_exec == of_init


def test_exec_detached_returns_at_once_and_writes_a_pid_file(running, tmp_path):
    with open(tmp_path / "output", "w") as output:
        command = running.command("exec", "--detach", "--pid-file", tmp_path / "pid", running.id, "sleep", "1000")
        subprocess.run(command, stdin=subprocess.DEVNULL, stdout=output, stderr=output, check=True, timeout=TIMEOUT)
    pid = int((tmp_path / "pid").read_text())

    assert is_alive(pid)
    running.delete("--force")
    wait_until(lambda: not is_alive(pid), "it ended with the container")


def test_exec_forwards_signals(running):
    script = "trap 'exit 42' TERM; echo ready; while :; do sleep 0.05; done"
    with subprocess.Popen(running.command("exec", running.id, "sh", "-c", script), stdout=subprocess.PIPE) as runner:
        assert runner.stdout.readline() == b"ready\n"
        runner.send_signal(signal.SIGTERM)

        assert runner.wait(TIMEOUT) == 42


@pytest.mark.differs("crun", "the wording is its own")
def test_exec_of_a_missing_program_is_told(running):

    assert "executable file not found in $PATH" in running.fails("exec", running.id, "nowhere", status=255)


def test_exec_in_a_stopped_container_is_refused(running):
    running.works("kill", running.id, "KILL")
    running.wait_until("stopped")
    status = 255 if running.name != "crun" else 1

    message = running.fails("exec", running.id, "true", status=status)

    assert "stopped" in message or running.name == "crun"


@pytest.mark.only_pyrun("crun 1.8 waits for ever")
def test_exec_in_a_paused_container_is_refused(running):
    running.works("pause", running.id)

    assert "cannot exec in a paused container" in running.fails("exec", running.id, "true", status=255)


@pytest.mark.only_pyrun("a daemon of bad luck: the others start what they should refuse")
@pytest.mark.parametrize("user", ["root", "-1", "4294967295", "1:x"])
def test_exec_as_no_user_is_refused(running, user):

    assert "is no id" in running.fails("exec", "--user", user, running.id, "true", status=255)


def test_exec_is_in_the_containers_cgroup_namespace(container, bundle):
    bundle.namespace("cgroup")
    container.sleeping()

    assert {line.split(":")[2] for line in container.exec("cat", "/proc/self/cgroup").splitlines()} == {"/"}
    assert container.exec("readlink", "/proc/self/ns/cgroup") == container.exec("readlink", "/proc/1/ns/cgroup")


def test_exec_works_in_a_created_container(container):
    assert container.create().exec("echo", "early") == "early\n"


def test_many_execs_at_once(running, full):
    command = running.command("exec", running.id, "sh", "-c", "exit 5")
    started = [subprocess.Popen(command, stdin=subprocess.DEVNULL) for _ in range(50 if full else 10)]

    assert {one.wait(TIMEOUT) for one in started} == {5}


@pytest.mark.only_pyrun("runc's and crun's own program can be seen there")
def test_no_interpreter_is_ever_seen_from_inside(container, bundle, full):
    rounds = 200 if full else 30
    watch = "while :; do for one in /proc/[0-9]*; do readlink $one/exe; done; done 2>/dev/null | grep -v busybox"
    bundle.process["args"] = ["sh", "-c", f"{watch}; sleep 1000"]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ["CAP_SYS_PTRACE"])
    container.run_detached()
    for _ in range(rounds):
        container.exec("true")
    seen = {line for line in container.output().splitlines() if "pyrun" not in line}

    assert not {line for line in seen if "python" in line}


@pytest.mark.differs("crun", "1.8 lists pids alone")
@pytest.mark.needs("ps -f")
def test_ps_shows_the_containers_processes(running):
    header, *lines = running.works("ps", running.id).splitlines()

    assert "PID" in header
    assert [line.split()[1] for line in lines] == [str(running.pid())]


def test_ps_as_json_lists_pids(running):
    assert json.loads(running.works("ps", "--format", "json", running.id)) == [running.pid()]


@pytest.mark.differs("crun", "1.8 lists pids alone")
def test_ps_passes_options_on(running):
    header, line = running.works("ps", running.id, "-o", "pid,comm").splitlines()

    assert header.split() == ["PID", "COMMAND"]
    assert line.split() == [str(running.pid()), "sleep"]


@pytest.mark.differs("crun", "1.8 lists pids alone")
def test_ps_without_a_pid_column_is_refused(running):
    assert "PID" in running.fails("ps", running.id, "-o", "comm")


def test_exec_can_have_no_new_privileges(container, bundle):
    bundle.process["noNewPrivileges"] = False
    container.sleeping()

    assert "NoNewPrivs:\t0" in container.exec("cat", "/proc/self/status")
    assert "NoNewPrivs:\t1" in container.exec("cat", "/proc/self/status", options=["--no-new-privs"])


@pytest.mark.only_pyrun("runc 1.1 and crun 1.8 wait, or refuse")
def test_exec_that_ignores_the_pause_runs_when_it_is_over(running):
    running.works("pause", running.id)
    command = running.command("exec", "--ignore-paused", running.id, "echo", "resumed")
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE) as runner:
        with pytest.raises(subprocess.TimeoutExpired):
            runner.wait(0.5)
        running.works("resume", running.id)

        assert runner.stdout.read() == b"resumed\n"


def test_exec_can_go_to_a_cgroup_below_the_containers(running):
    below = [f"{directory}/below" for directory in running.cgroups()]
    for directory in below:
        os.mkdir(directory)
        for name in ("cpuset.cpus", "cpuset.mems"):
            if os.path.exists(f"{directory}/{name}"):
                with open(f"{directory}/../{name}") as above, open(f"{directory}/{name}", "w") as file:
                    file.write(above.read())
    paths = running.exec("cat", "/proc/self/cgroup", options=["--cgroup", "below"]).splitlines()

    assert paths
    assert all(line.endswith((f"/{running.id}/below", ":/")) for line in paths)


@pytest.mark.only_pyrun("the others read the bundle's config anew")
def test_exec_and_hooks_know_the_config_as_it_was_when_the_container_was_made(container, bundle):
    bundle.config["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", "id -u > /tmp/hook"]}]}
    bundle.process["args"] = ["sleep", "1000"]
    container.create()
    bundle.process["env"] += ["CHANGED=yes"]
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    container.bundle.save()
    container.start()

    assert container.exec("sh", "-c", "echo $CHANGED; id -u") == "\n0\n"
    assert (bundle.rootfs / "tmp/hook").read_text() == "0\n"


@pytest.mark.differs("runc", "1.1 reads the bundle's config anew")
def test_exec_works_when_the_config_of_the_bundle_has_gone(container, bundle):
    container.sleeping()
    (bundle.path / "config.json").unlink()
    command = container.command("exec", container.id, "echo", "still")

    assert subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True).stdout == "still\n"
