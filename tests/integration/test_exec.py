"""exec and ps: another process in a container that runs."""

import json
import os
import shutil
import signal
import subprocess

import pytest
from harness import TIMEOUT, build_with, is_alive, wait_until

from pyrun.cgroup.group import Cgroup
from pyrun.container.state import load
from pyrun.launch.exec import Target

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


def test_of_several_entries_with_one_name_in_the_json_the_last_is_the_environment_s(running, tmp_path):
    process = {**running.bundle.process, "args": ["env"], "env": ["PATH=/bin", "NAME=1", "NAME=2"]}
    (tmp_path / "process.json").write_text(json.dumps(process))

    told = running.works("exec", "--process", tmp_path / "process.json", running.id).splitlines()
    assert [line for line in told if line.startswith("NAME=")] == ["NAME=2"]


@pytest.mark.differs("crun", "it ignores names in another case")
def test_the_json_of_a_process_may_have_names_in_another_case(running, tmp_path):
    process = {"Args": ["sh", "-c", "pwd; id -u"], "CWD": "/tmp", "env": ["PATH=/bin"], "User": {"UID": 7, "gid": 7}}
    (tmp_path / "process.json").write_text(json.dumps(process))

    assert running.works("exec", "--process", tmp_path / "process.json", running.id).split() == ["/tmp", "7"]


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
@pytest.mark.differs("runc", "1.1 names the directory alone")
def test_exec_in_a_directory_that_is_missing_is_told(running):
    message = running.fails("exec", "--cwd", "/nowhere", running.id, "true", status=255)

    assert 'chdir to cwd ("/nowhere") set in config.json failed: no such file or directory' in message


@pytest.mark.parametrize(
    "kind",
    [
        "directory",
        pytest.param("of another user", marks=pytest.mark.only_pyrun("the others take the first with an x bit")),
        pytest.param("script without interpreter", marks=pytest.mark.only_pyrun("the others take the first")),
    ],
)
def test_exec_takes_the_next_program_of_the_path_if_the_first_may_not_be_executed(container, bundle, kind):
    first = bundle.rootfs / "first"
    first.mkdir()
    if kind == "directory":
        (first / "id").mkdir()
    else:
        (first / "id").write_text("#!/bin/nothing\n" if kind.startswith("script") else "#!/bin/sh\n")
        (first / "id").chmod(0o700 if kind == "of another user" else 0o755)
    bundle.process["env"] = ["PATH=/first:/bin"]
    container.sleeping()

    assert container.exec("id", "-u", options=["--user", "1000:1000"]) == "1000\n"


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

    assert "is not an id" in running.fails("exec", "--user", user, running.id, "true", status=255)


@pytest.mark.differs("crun", "the exit code of its usage is 64")
@pytest.mark.parametrize("option", ["--preserve-fds", "--additional-gids"])
def test_an_option_that_is_no_number_is_a_mistake_of_the_command_line(running, option):
    assert "abc" in running.fails("exec", option, "abc", running.id, "true", status=1)


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


@pytest.fixture
def watched(container, bundle, compile_attacker):
    """A container in which peer.c prints, each once, the programs that it sees running."""
    shutil.copy(compile_attacker("peer"), bundle.rootfs)
    bundle.process["args"] = ["/peer", "/a-file-of-the-host"]
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ["CAP_SYS_PTRACE"])
    container.run_detached()
    wait_until(lambda: "peer runs" in container.output(), "the peer runs")
    return container


def seen(container):
    return {line.removeprefix("exe ") for line in container.output().splitlines() if line.startswith("exe ")}


WATCHED_EXECS = 60


@pytest.mark.only_pyrun("runc's and crun's own program can be seen there")
def test_no_interpreter_is_ever_seen_from_inside(watched, full):
    for _ in range(1000 if full else WATCHED_EXECS):
        watched.exec("true")
    watched.exec("sleep", "1")

    assert "/bin/busybox" in seen(watched)  # so the peer has looked at what exec has run
    assert seen(watched) <= {"/bin/busybox", "/memfd:pyrun (deleted)"}


@pytest.mark.only_pyrun("about its stub")
@pytest.mark.needs("strace")
@pytest.mark.parametrize("in_user_namespace", [False, True])
def test_only_the_stub_enters_the_namespaces(container, bundle, tmp_path, in_user_namespace):
    if in_user_namespace:
        bundle.user_namespace()
    container.sleeping()
    container.prefix = ["strace", "-f", "-qq", "-o", tmp_path / "trace", "-e", "trace=execve,setns,chroot"]
    container.exec("true", options=["--tty"])

    calls = [line.split(maxsplit=1) for line in (tmp_path / "trace").read_text().splitlines()]
    (entering,) = {pid for pid, call in calls if call.startswith(("setns(", "chroot("))}
    first = next(call for pid, call in calls if pid == entering)
    assert '["pyrun", "init"]' in first


@pytest.mark.only_pyrun("about its descriptors")
def test_a_container_that_cannot_be_entered_leaves_no_descriptor_open(running):
    container = load(str(running.root), running.id)
    before = os.listdir("/proc/self/fd")
    with pytest.raises(FileNotFoundError):
        Target(container, Cgroup({**container.cgroup_paths, "memory": "/nowhere"}))

    assert os.listdir("/proc/self/fd") == before


@pytest.mark.only_pyrun("the others are no scripts")
def test_a_program_that_is_overwritten_while_exec_waits_still_returns_the_exit_code(running, tmp_path):
    original, running.runtime = running.runtime, shutil.copy(running.runtime, tmp_path)
    script = "echo ready; read line; exit 7"
    command = running.command("exec", running.id, "sh", "-c", script)
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as runner:
        assert runner.stdout.readline() == b"ready\n"
        size = os.path.getsize(running.runtime)
        with open(running.runtime, "r+b") as file:
            file.write(bytes(size))
        runner.stdin.close()
        status = runner.wait(TIMEOUT)
    running.runtime = original

    assert status == 7


# A child of `exec` that enters the pid namespace of the container; its own child is seen in there for a millisecond.
VISIBLE_FOR_A_MILLISECOND = """

_run = run


def run(settings, id_, *arguments, **options):
    import ctypes, json, time

    with open(f"{settings.root}/{id_}/state.json") as file:
        namespace = os.open(f"/proc/{json.load(file)['pid']}/ns/pid", os.O_RDONLY)
    outside = os.fork()
    if outside == 0:
        ctypes.CDLL(None).setns(namespace, 0)
        inside = os.fork()
        if inside == 0:
            time.sleep(0.001)
            os._exit(0)
        os.waitpid(inside, 0)
        os._exit(0)
    os.waitpid(outside, 0)
    os.close(namespace)
    return _run(settings, id_, *arguments, **options)
"""


@pytest.mark.only_pyrun("it is built with a fault")
def test_an_interpreter_inside_for_a_millisecond_would_be_seen(watched, tmp_path):
    watched.runtime = build_with(tmp_path, {"pyrun/commands/exec.py": VISIBLE_FOR_A_MILLISECOND})

    execs = 0
    while execs < WATCHED_EXECS and not any("python" in program for program in seen(watched)):
        watched.exec("true")
        execs += 1

    assert any("python" in program for program in seen(watched))


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


@pytest.mark.differs("crun", "1.8 lists pids alone")
def test_ps_says_what_ps_says(running):
    assert "unknown user-defined format specifier" in running.fails("ps", running.id, "-o", "nosuch")


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


@pytest.mark.differs("crun", "1.8 hands on both")
def test_an_environment_variable_of_exec_takes_the_place_of_the_config_s(container, bundle):
    bundle.process["env"] = ["PATH=/bin", "NAME=of the config", "HOME=/"]
    container.sleeping()

    told = container.exec("env", options=["-e", "NAME=1", "-e", "NAME=of exec"]).splitlines()
    assert [line for line in told if line.startswith("NAME=")] == ["NAME=of exec"]


@pytest.mark.parametrize(
    "option",
    [
        "--pid-file",
        "--console-socket",
        pytest.param("--pidfd-socket", marks=pytest.mark.only_pyrun("no option of runc 1.1 and crun 1.8")),
    ],
)
@pytest.mark.differs("crun", "1.8 ends with 1, and leaves the process running")
def test_exec_that_cannot_tell_the_caller_about_its_process_leaves_none(running, tmp_path, option):
    path = tmp_path / "missing/name"
    terminal = ["--tty"] if option == "--console-socket" else []
    with open(tmp_path / "stderr", "w+") as stderr:
        command = running.command("exec", "--detach", *terminal, option, path, running.id, "sleep", "1234")
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=stderr, stderr=stderr, timeout=TIMEOUT)
        stderr.seek(0)
        message = stderr.read()

    assert ended.returncode == 255
    assert str(path) in message or option == "--pid-file" and running.name == "runc"
    assert "sleep 1234" not in running.exec("ps", "-o", "args")


@pytest.mark.differs("runc", "1.1 sends them to its init as JSON")
def test_exec_takes_bytes_that_are_not_utf_8(container, bundle):
    directory = os.fsencode(bundle.rootfs / "tmp") + b"/\xff\xfe"
    os.mkdir(directory)
    container.sleeping()
    script = 'printf "%s\\n" "$1" "$NAME" "$(pwd)"'
    options = [b"--cwd", b"/tmp/\xff\xfe", b"-e", b"NAME=\xfd"]
    command = [*container.command("exec"), *options, container.id, "sh", "-c", script, "sh", b"\xfc\x80"]
    told = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIMEOUT)

    assert told.stdout.split(b"\n") == [b"\xfc\x80", b"\xfd", b"/tmp/\xff\xfe", b""]


@pytest.mark.parametrize("inheritable", [True, False])
@pytest.mark.differs("crun", "1.8 makes none ambient")
def test_a_capability_of_exec_is_ambient_if_the_config_has_it_inheritable(container, bundle, inheritable):
    if inheritable:
        bundle.process["capabilities"]["inheritable"] = ["CAP_KILL"]
    container.sleeping()
    told = container.exec("grep", "CapAmb", "/proc/self/status", options=["-u", "1000:1000", "--cap", "CAP_KILL"])

    assert int(told.split()[1], 16) == (1 << 5 if inheritable else 0)


@pytest.mark.only_pyrun("the messages are pyrun's own")
def test_exec_with_debug_says_what_is_done(running):
    running.global_options = ["--debug"]
    said = running.call("exec", running.id, "true").stderr

    assert f"exec true in {running.id}, whose init is {running.pid()}" in said
