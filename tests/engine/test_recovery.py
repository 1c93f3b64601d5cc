"""Whatever is killed, containers go on, and no exit code and no line of a log is lost."""

import os
import random
import re
import resource
import shutil
import signal
import subprocess
import threading
import time
from pathlib import Path
from subprocess import DEVNULL

import daemon
import pytest
from agreement import commands_of_monitors, differences
from daemon import changed_program, kill, wait_until

pytestmark = pytest.mark.usefixtures("removed")

COUNT = "i=0; while [ $i -lt {} ]; do i=$((i+1)); echo line $i; done"


def lines(last):
    return [f"line {number}" for number in range(1, last + 1)]


def test_a_container_goes_on_when_the_daemon_is_killed(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    pid = engine.inspect("web", ".State.Pid")

    engine.kill()
    engine.start()

    assert engine.inspect("web", ".State.Status") == "running"
    assert engine.inspect("web", ".State.Pid") == pid
    assert engine.ok("exec", "web", "cat", "/proc/1/cmdline") == "sleep\x001000\x00"


def test_an_exit_code_of_the_time_without_a_daemon_is_known(engine):
    id_ = engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", "sleep 0.5; exit 7")

    engine.kill()
    engine.await_record(id_)
    engine.start()

    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "the end")
    assert engine.inspect("web", ".State.ExitCode") == 7
    assert engine.inspect("web", ".State.FinishedAt") > engine.inspect("web", ".State.StartedAt")


def test_nothing_of_a_program_that_ends_at_once_is_lost_when_the_daemon_is_killed(engine, full):
    """One of six or so has ended before its monitor is there."""
    source = random.Random(1)
    ended = 0
    for number in range(40 if full else 8):
        name = f"short{number}"
        words = ("run", "-d", "--name", name, "--network=none", "busybox", "cat", "/etc/hostname", "/none")
        client = engine.begin(*words, stdout=DEVNULL, stderr=DEVNULL)
        wait_until(lambda name=name: name in engine.ok("ps", "-a", "--format", "{{.Names}}").split(), "the container")
        time.sleep(source.uniform(0, 0.03))

        engine.kill()
        client.wait(20)
        engine.start()

        if engine.inspect(name, ".State.Status") != "created":
            ended += 1
            assert engine.ok("wait", name) == "1"
            assert engine.ok("logs", name) == engine.inspect(name, ".Config.Hostname")
        wait_until(lambda: differences(engine) == {}, "agreement")
        engine.ok("rm", name)
    assert ended


def test_an_end_of_which_a_killed_daemon_has_been_told_is_seen_by_the_next(engine):
    id_ = engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", "sleep 0.5; exit 7")
    streams = engine.children()["streams"]
    os.kill(streams, signal.SIGSTOP)  # the daemon waits for it after it was told of an end
    try:
        engine.await_record(id_)
        assert engine.call("GET", "/version")[0] == 200
        time.sleep(0.2)
        engine.kill()
    finally:
        os.kill(streams, signal.SIGCONT)
    engine.start()

    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "the end")
    assert engine.inspect("web", ".State.ExitCode") == 7
    wait_until(lambda: id_ not in commands_of_monitors(), "the end of its monitor")


def test_output_of_the_time_without_a_daemon_is_in_the_log(engine):
    program = f"echo before; sleep 0.7; {COUNT.format(500)}"
    id_ = engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)

    engine.kill()
    engine.await_record(id_)  # now only its monitor has the output
    engine.start()

    assert engine.ok("wait", "web") == "0"
    assert engine.ok("logs", "web").splitlines() == ["before", *lines(500)]


@pytest.mark.parametrize("victims", [["daemon"], ["streams"], ["launcher"], ["daemon", "launcher"]])
def test_no_line_is_lost_when_processes_are_killed_while_a_container_prints(engine, victims):
    program = "i=0; while [ $i -lt 400 ]; do i=$((i+1)); echo line $i; sleep 0.002; done"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", program)

    for _ in range(2):
        children = engine.children()
        time.sleep(0.2)
        for name in {"launcher", "streams"}.intersection(victims):
            kill(children[name])
        if "daemon" in victims:
            engine.kill()
            engine.start()
        else:
            wait_until(lambda: engine.docker("exec", "web", "true").returncode == 0, "another process")

    assert engine.ok("wait", "web") == "0"
    found = engine.ok("logs", "web").splitlines()
    if "streams" in victims:  # one that was killed between writing and taking has written what its successor finds
        found = list(dict.fromkeys(found))
    assert found == lines(400)


# A worker takes a second to become the monitor of what it has started.
SLOW = """
import time
from pyrund.launch import start
keep_watch = start.keep_watch
def keep_watch_late(*words):
    time.sleep(1)
    keep_watch(*words)
start.keep_watch = keep_watch_late
"""


def test_no_line_is_lost_when_the_streams_process_is_killed_while_a_container_starts(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "PYRUND", changed_program(tmp_path, SLOW))
    engine = daemon.Daemon(hub, tmp_path / "engine", "--bridge", "own0")
    try:
        engine.ok("pull", "busybox")
        prints = f"sleep 0.5; {COUNT.format(300)}"
        words = ("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", prints)
        starting = engine.begin(*words, stdout=DEVNULL)
        wait_until(lambda: list(engine.data.glob("containers/*/*-json.log")), "its log")  # the process has the streams
        kill(engine.children()["streams"])

        assert starting.wait(30) == 0
        assert engine.ok("wait", "web") == "0"
        assert list(dict.fromkeys(engine.ok("logs", "web").splitlines())) == lines(300)
    finally:
        engine.stop()


# The daemon notices late that the second streams process has all streams, and the third one gets them later.
UNEQUAL = """
from pyrund.daemon import recovery
give_streams_again, pauses = recovery.give_streams_again, [(0, 2), (4, 0)]
async def give_unequally(engine):
    before, after = pauses.pop(0)
    await engine.loop.sleep(before)
    await give_streams_again(engine)
    await engine.loop.sleep(after)
recovery.give_streams_again = give_unequally
"""


def open_files(pid):
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in os.listdir(f"/proc/{pid}/fd")]


def test_no_line_is_lost_when_the_streams_process_is_killed_twice(hub, tmp_path, monkeypatch):
    monkeypatch.setattr(daemon, "PYRUND", changed_program(tmp_path, UNEQUAL))
    engine = daemon.Daemon(hub, tmp_path / "engine", "--bridge", "own0")
    (tmp_path / "shared").mkdir()
    try:
        engine.ok("pull", "busybox")
        prints = f"while [ ! -e /shared/go ]; do sleep 0.01; done; {COUNT.format(10)}"
        words = ("-d", "--name", "web", "--network=none", "-v", f"{tmp_path}/shared:/shared")
        id_ = engine.ok("run", *words, "busybox", "sh", "-c", prints)
        first = engine.children()["streams"]
        kill(first)
        wait_until(lambda: engine.children().get("streams", first) != first, "the second one")
        second = engine.children()["streams"]
        wait_until(lambda: any(path.endswith("-json.log") for path in open_files(second)), "its streams")
        os.kill(second, signal.SIGSTOP)
        (tmp_path / "shared/go").touch()
        engine.await_record(id_)
        kill(second)

        assert engine.ok("wait", "web") == "0"
        assert engine.ok("logs", "web").splitlines() == lines(10)
    finally:
        engine.stop()


def test_a_terminal_is_taken_back(engine):
    engine.ok("run", "-dit", "--name", "web", "--network=none", "busybox", "sh")

    engine.kill()
    engine.start()
    with engine.connect() as connection:
        head = "POST /containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
        connection.sendall(f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n".encode())
        connection.sendall(b"echo $((40 + 2))\n")
        data = b""
        while b"42" not in data:
            data += connection.recv(4096)


def test_standard_input_stays_open_when_the_daemon_is_killed(engine):
    engine.ok("run", "-di", "--name", "web", "--network=none", "busybox", "cat")

    engine.kill()
    engine.start()
    with engine.connect() as connection:
        head = "POST /containers/web/attach?stream=1&stdin=1&stdout=1 HTTP/1.1\r\nHost: d\r\n"
        connection.sendall(f"{head}Connection: Upgrade\r\nUpgrade: tcp\r\n\r\ntyped\n".encode())
        data = b""
        while b"typed" not in data:
            data += connection.recv(4096)

    assert engine.inspect("web", ".State.Running")


def test_an_exec_goes_on_and_its_exit_code_is_known(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    config = {"Cmd": ["sh", "-c", "sleep 0.7; exit 6"], "AttachStdout": True}
    _, created = engine.call("POST", "/containers/web/exec", config)
    engine.call("POST", f"/exec/{created['Id']}/start", {"Detach": True})

    engine.kill()
    engine.start()

    running = engine.call("GET", f"/exec/{created['Id']}/json")[1]
    wait_until(lambda: not engine.call("GET", f"/exec/{created['Id']}/json")[1]["Running"], "the end of the exec")
    assert running["Running"]
    assert engine.call("GET", f"/exec/{created['Id']}/json")[1]["ExitCode"] == 6


def test_a_container_that_removes_itself_is_removed_after_the_daemon_was_killed(engine):
    engine.ok("run", "-d", "--rm", "--name", "web", "--network=none", "busybox", "sleep", "0.5")

    engine.kill()
    time.sleep(1)
    engine.start()

    wait_until(lambda: engine.ok("ps", "-aq") == "", "the removal")


def test_a_paused_container_is_still_paused(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    engine.ok("pause", "web")

    engine.kill()
    engine.start()

    assert engine.inspect("web", ".State.Status") == "paused"


def test_a_container_without_a_monitor_has_the_status_of_an_unknown_end(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    pid = engine.inspect("web", ".State.Pid")
    with open(f"/proc/{pid}/stat") as file:
        monitor = int(file.read().rpartition(") ")[2].split()[1])

    kill(monitor)

    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "the end")
    assert engine.inspect("web", ".State.ExitCode") == 255


def test_half_made_and_half_removed_containers_are_removed(engine):
    id_ = engine.ok("create", "--network=none", "busybox")
    engine.stop()
    (engine.data / "containers" / id_ / "container.json").unlink()

    engine.start()

    assert engine.ok("ps", "-aq") == ""
    assert engine.left_over() == {}


def test_what_cannot_be_read_or_removed_hinders_nothing_else(own_engine):
    engine = own_engine
    engine.ok("volume", "create", "lost")
    engine.ok("network", "create", "lost")
    network = engine.ok("network", "inspect", "-f", "{{.Id}}", "lost")
    id_ = engine.ok("create", "--network=none", "busybox")
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    engine.stop()
    folder = engine.data / "containers" / id_
    (folder / "container.json").unlink()
    (engine.data / "volumes/lost/volume.json").write_text("")  # as after a power failure
    (engine.data / f"networks/{network}.json").write_text("{}")
    assert engine.hub.run("mount", "-t", "tmpfs", "busy", folder / "bundle").returncode == 0
    try:
        engine.start()

        assert engine.ok("ps", "-q", "--no-trunc") == engine.inspect("web", ".Id")
        assert engine.ok("run", "--rm", "busybox", "echo", "works") == "works"
        log = engine.log.read_text()
        for words in (f"{id_}: ", "volumes/lost/volume.json: is not a volume", f"{network}.json: is not a network"):
            assert words in log
    finally:
        engine.hub.run("umount", folder / "bundle")
        engine.hub.run("ip", "link", "delete", f"br-{network[:12]}")  # of the network that no engine knows any more
    engine.stop()
    engine.start()
    assert not folder.exists()


def test_a_running_container_without_its_document_is_ended_with_its_monitor(engine):
    id_ = engine.ok("run", "-d", "busybox", "sleep", "1000")
    engine.stop()
    (engine.data / "containers" / id_ / "container.json").unlink()

    engine.start()

    assert engine.ok("ps", "-aq") == ""
    assert engine.left_over() == {}
    wait_until(lambda: id_ not in commands_of_monitors(), "the end of the monitor")


def test_a_second_engine_does_not_start_in_the_same_folders(engine):
    command = [str(word).replace("docker.sock", "other.sock") for word in engine._command]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)

    assert done.returncode == 1
    assert "another engine runs here" in done.stderr


def test_containers_start_at_the_same_time_as_the_daemon_is_killed(engine):
    """None may be lost, and none be left of which the daemon does not know."""
    made = [engine.ok("create", "--network=none", "busybox", "sleep", "1000") for _ in range(4)]
    starts = [threading.Thread(target=engine.docker, args=("start", id_)) for id_ in made]
    for start in starts:
        start.start()
    time.sleep(0.05)

    engine.kill()
    for start in starts:
        start.join()
    engine.start()

    states = {id_: engine.inspect(id_, ".State.Status") for id_ in made}
    assert set(states.values()) <= {"running", "created", "exited"}, states
    for id_, state in states.items():
        engine.ok("start", id_)
        assert engine.inspect(id_, ".State.Running"), state


@pytest.mark.timeout(600)
def test_the_daemon_is_killed_at_any_moment_of_runs_and_removals(engine, full):
    """Afterwards it knows every container that there is, and there is none that it does not know."""
    source = random.Random(1)
    for _ in range(100 if full else 3):
        words = [
            ("run", "-d", "--rm", "-v", "/x", "busybox", "sleep", "0.2"),
            ("run", "-d", "busybox", "sleep", "1000"),
        ]
        clients = [engine.begin(*word, stdout=DEVNULL, stderr=DEVNULL) for word in words]
        old = [one["Id"] for one in engine.call("GET", "/containers/json?all=1")[1]]
        clients += [engine.begin("rm", "-fv", id_, stdout=DEVNULL, stderr=DEVNULL) for id_ in old]
        time.sleep(source.uniform(0, 0.6))

        engine.kill()
        for client in clients:
            client.wait(20)
        engine.start()

        try:
            wait_until(lambda: differences(engine) == {}, "agreement")  # containers may end while one looks
        except AssertionError:
            raise AssertionError(differences(engine)) from None


def test_a_daemon_whose_program_is_gone_does_not_start_processes_without_end(hub, tmp_path, monkeypatch):
    """Its modules are files, not a pack in memory."""
    program, modules = tmp_path / "pyrund", tmp_path / "modules"
    shutil.copytree(daemon.REPOSITORY / "runtime", modules)
    program.write_text(f"#!/usr/bin/python3\nimport sys\nsys.path[:0] = ['{modules}']\nimport pyrund.__main__\n")
    program.chmod(0o755)
    monkeypatch.setattr(daemon, "PYRUND", str(program))
    engine = daemon.Daemon(hub, tmp_path / "engine", "--bridge", "own0")
    try:
        engine.ok("pull", "busybox")
        modules.rename(tmp_path / "away")
        kill(engine.children()["launcher"])
        begun = time.monotonic()
        while time.monotonic() < begun + 0.5:
            status, answer = engine.call("POST", "/images/busybox/tag?repo=other")
            assert (status, answer["message"][:12]) in [(500, "the engine's"), (500, "the process ")]
        assert 1 <= engine.log.read_text().count("ModuleNotFoundError") < 10

        (tmp_path / "away").rename(modules)
        wait_until(lambda: engine.call("POST", "/images/busybox/tag?repo=other")[0] == 201, "a launcher")
    finally:
        engine.stop()


def test_a_start_for_which_there_are_too_few_descriptors_fails_and_leaves_nothing(own_engine):
    own_engine.ok("create", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    pid = own_engine.process.pid
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    errors = []
    for room in range(1, 30):  # the client's connection takes the first
        taken = set(map(int, os.listdir(f"/proc/{pid}/fd")))
        free = [number for number in range(len(taken) + room + 1) if number not in taken]
        resource.prlimit(pid, resource.RLIMIT_NOFILE, (free[room], before[1]))
        try:
            status, answer = own_engine.call("POST", "/containers/web/start")
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
        if status == 204:
            break
        errors.append((status, answer["message"]))
        assert own_engine.inspect("web", ".State.Running") is False
        wait_until(lambda: differences(own_engine) == {}, "agreement")

    named = (
        r".*/container\.json|socketpair|descriptors of the engine"  # which of them come depends on other connections
    )
    assert len(errors) > 1
    for status, message in errors:
        assert status == 500 and re.fullmatch(f"({named}): Too many open files", message), message
    assert own_engine.inspect("web", ".State.Running") is True


def test_the_engine_has_all_files_that_it_may_have_and_a_container_its_caller_s_limit(own_engine):
    own_engine.stop()
    own_engine._command = ["prlimit", "--nofile=300:5000", *own_engine._command]
    own_engine.start()

    def limits(pid):
        lines = Path(f"/proc/{pid}/limits").read_text().splitlines()
        return next(line.split()[3:5] for line in lines if line.startswith("Max open files"))

    kill(own_engine.children()["launcher"])  # the next one begins when the limit has been raised
    inside = own_engine.ok("run", "--rm", "--network=none", "busybox", "sh", "-c", "ulimit -Sn; ulimit -Hn")

    assert inside.split() == ["300", "5000"]
    assert limits(own_engine.process.pid) == ["5000", "5000"]
    assert limits(own_engine.children()["streams"]) == ["5000", "5000"]
