"""docker checkpoint and start --checkpoint: a container goes on where it was."""

import json
import os
import subprocess
import time
from pathlib import Path

import criu
import pytest
from daemon import Daemon, kill, wait_until
from outside import asked

pytestmark = [pytest.mark.needs("criu"), pytest.mark.usefixtures("removed")]

COUNT = "i=0; while true; do i=$((i+1)); echo $i; echo $i > /tmp/i; sleep 0.05; done"
SLOW = """#!/bin/sh
[ ! -e {waits} ] || {{ rm {waits}; echo $PPID $$ > {waits}.new; mv {waits}.new {waits}.begun; sleep 1000; }}
exec {real} "$@"
"""


@pytest.fixture(scope="module")
def engine(hub, tmp_path_factory):
    directory = tmp_path_factory.mktemp("engine")
    settings = {"experimental": True, "registry-mirrors": ["http://127.0.0.1:5000"]}
    (directory / "daemon.json").write_text(json.dumps(settings))
    slow = directory / "bin/criu"  # which waits where it finds a file, and says whose child it is
    slow.parent.mkdir()
    slow.write_text(SLOW.format(waits=directory / "waits", real=f"{criu.directory()}/criu"))
    slow.chmod(0o755)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PATH", f"{slow.parent}:{os.environ['PATH']}")
        daemon = Daemon(hub, directory, "--config-file", directory / "daemon.json")
        daemon.ok("pull", "-q", "busybox")
        yield daemon
        daemon.remove_all()
        daemon.stop()
    assert daemon.left_over() == {}
    assert "Traceback" not in daemon.log.read_text()


def counting(engine, *options):
    engine.ok("run", "-d", "--name", "web", *options, "busybox", "sh", "-c", COUNT)
    wait_until(lambda: reached(engine) > 3, "it counts")


def reached(engine):
    lines = engine.ok("logs", "web").split()
    return int(lines[-1]) if lines else 0


def checkpointed(engine, name="one"):
    """Make a checkpoint that ends the container; return how far it has counted."""
    assert engine.ok("checkpoint", "create", "web", name) == name
    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "its end")
    return reached(engine)


@pytest.mark.parametrize(
    "options",
    [
        ("--network=none",),
        ("--tmpfs", "/tmp", "-v", "/data", "--memory", "64m", "-p", "80"),
        ("-t", "--network=host", "--read-only", "-v", "/tmp"),
        ("-i", "--cap-drop", "all", "--security-opt", "no-new-privileges", "--hostname", "here"),
    ],
    ids=" ".join,
)
def test_a_container_goes_on_where_it_was(engine, options):
    counting(engine, *options)

    then = checkpointed(engine)
    assert engine.inspect("web", ".State.ExitCode") == 137
    engine.ok("start", "--checkpoint", "one", "web")

    wait_until(lambda: reached(engine) > then + 2, "it goes on")
    numbers = list(map(int, engine.ok("logs", "web").split()))
    assert numbers == list(range(1, len(numbers) + 1))
    wait_until(lambda: int(engine.ok("exec", "web", "cat", "/tmp/i") or 0) > then, "the file, which it writes anew")
    pid = engine.inspect("web", ".State.Pid")
    monitor = int(Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()[1])
    assert str(engine.data) not in Path("/proc/self/mountinfo").read_text()
    assert os.readlink(f"/proc/{monitor}/ns/mnt") == os.readlink(f"/proc/{engine.process.pid}/ns/mnt")


def test_a_network_is_made_anew_and_a_server_in_it_goes_on(engine):
    program = "exec nc -ll -p 80 -e busybox echo served"
    engine.ok("run", "-d", "--name", "web", "-p", "8095:80", "busybox", "sh", "-c", program)

    def is_served():
        return asked(engine.hub.run, "127.0.0.1", "8095") == "served"

    wait_until(is_served, "the server")
    engine.ok("checkpoint", "create", "web", "one")
    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "its end")
    engine.ok("start", "--checkpoint", "one", "web")

    wait_until(is_served, "the server")
    assert engine.ok("exec", "web", "cat", "/proc/sys/net/ipv4/ip_unprivileged_port_start") == "0"
    assert "LOOPBACK,UP" in engine.ok("exec", "web", "ip", "addr", "show", "lo")


def test_a_container_that_was_left_running_has_its_checkpoint_listed_and_removed(engine):
    since = f"{time.time():.9f}"
    counting(engine, "--network=none")

    engine.ok("checkpoint", "create", "--leave-running", "web", "one")
    then = reached(engine)

    assert engine.inspect("web", ".State.Status") == "running"
    wait_until(lambda: reached(engine) > then, "it goes on")
    engine.ok("checkpoint", "create", "--leave-running", "web", "other")
    assert engine.ok("checkpoint", "ls", "web").split() == ["CHECKPOINT", "NAME", "one", "other"]
    engine.ok("checkpoint", "rm", "web", "one")
    assert engine.ok("checkpoint", "ls", "web").split() == ["CHECKPOINT", "NAME", "other"]
    past = ("--since", since, "--until", f"{time.time():.9f}", "--filter", "event=checkpoint")
    assert len(engine.ok("events", *past).splitlines()) == 2


def test_a_checkpoint_can_be_kept_elsewhere_and_nothing_else_there_is_touched(engine, tmp_path):
    counting(engine, "--network=none")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine/file").touch()

    for words in (("create", "web", "mine"), ("rm", "web", "mine")):
        engine.fails("checkpoint", words[0], "--checkpoint-dir", tmp_path, *words[1:])
    engine.ok("checkpoint", "create", "--checkpoint-dir", tmp_path, "web", "one")
    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "its end")
    then = reached(engine)

    assert (tmp_path / "mine/file").exists()
    assert engine.ok("checkpoint", "ls", "--checkpoint-dir", tmp_path, "web").split()[2:] == ["one"]
    engine.ok("start", "--checkpoint", "one", "--checkpoint-dir", tmp_path, "web")
    wait_until(lambda: reached(engine) > then, "it goes on")
    engine.ok("checkpoint", "rm", "--checkpoint-dir", tmp_path, "web", "one")
    assert os.listdir(tmp_path) == ["mine"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "message"),
    [
        ("POST", "/containers/web/checkpoints", {"CheckpointID": "one"}, 409, "is not running"),
        ("POST", "/containers/web/checkpoints", {"CheckpointID": "../x"}, 500, "Invalid checkpoint ID (../x), only ["),
        ("POST", "/containers/web/checkpoints", {}, 500, "Invalid checkpoint ID (), only ["),
        ("POST", "/containers/none/checkpoints", {"CheckpointID": "one"}, 404, "No such container: none"),
        ("GET", "/containers/none/checkpoints", None, 404, "No such container: none"),
        ("GET", "/containers/web/checkpoints?dir=x", None, 400, "must be an absolute path"),
        ("DELETE", "/containers/web/checkpoints/none", None, 500, "checkpoint none does not exist for container web"),
        ("DELETE", "/containers/web/checkpoints/..", None, 500, "Invalid checkpoint ID (..), only ["),
        ("DELETE", "/containers/web/checkpoints/..%2f..", None, 500, "Invalid checkpoint ID (../..), only ["),
        (
            "POST",
            "/containers/web/start?checkpoint=none",
            None,
            500,
            "checkpoint none does not exist for",
        ),
        ("POST", "/containers/web/start?checkpoint=a%2fb", None, 500, "Invalid checkpoint ID (a/b), only ["),
    ],
)
def test_what_cannot_be_is_refused_in_docker_s_words(engine, method, path, body, status, message):
    engine.ok("create", "--name", "web", "--network=none", "busybox", "true")

    found, answer = engine.call(method, path, body)

    assert (found, message in answer["message"]) == (status, True), answer
    assert engine.ok("start", "web") == "web"  # nothing is in the way


def test_what_criu_cannot_do_is_told_and_the_container_goes_on(engine):
    engine.ok("run", "-d", "--init", "--name", "web", "--network=none", "busybox", "sh", "-c", COUNT)

    _, error = engine.fails("checkpoint", "create", "web", "one")

    assert "criu does not restore that" in error
    then = reached(engine)
    wait_until(lambda: reached(engine) > then, "it goes on")
    assert engine.ok("checkpoint", "ls", "web").split() == ["CHECKPOINT", "NAME"]
    assert not (engine.data / "containers" / engine.inspect("web", ".Id") / "checkpoints").exists()


def test_a_damaged_checkpoint_starts_nothing_and_leaves_nothing(engine):
    counting(engine, "--network=none")
    checkpointed(engine)
    folder = engine.data / "containers" / engine.inspect("web", ".Id") / "checkpoints/one"
    for image in folder.glob("core-*.img"):
        image.write_bytes(b"damaged")

    _, error = engine.fails("start", "--checkpoint", "one", "web")

    assert "criu" in error
    assert engine.inspect("web", ".State.Status") == "exited"
    assert list((engine.run / "pyrun").iterdir()) == []
    engine.ok("start", "web")
    wait_until(lambda: "\n1\n" in engine.ok("logs", "web"), "it begins again")


def test_a_container_is_restored_by_a_later_daemon_which_is_killed_then(engine):
    counting(engine, "--network=none", "--restart", "always")
    then = checkpointed(engine)
    time.sleep(0.3)
    assert engine.inspect("web", ".State.Status") == "exited"  # the policy does not start it from its beginning
    engine.ok("update", "--restart", "no", "web")
    engine.stop()
    engine.start()
    engine.ok("start", "--checkpoint", "one", "web")
    engine.kill()
    engine.start()

    wait_until(lambda: reached(engine) > then + 2, "it goes on")
    kill(engine.inspect("web", ".State.Pid"))
    assert engine.ok("wait", "web") == "137"
    numbers = list(map(int, engine.ok("logs", "web").split()))
    assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.parametrize("victim", ["worker", "daemon"])
def test_a_container_goes_on_when_what_writes_it_is_killed(engine, victim):
    counting(engine, "--network=none")
    (engine.directory / "waits").touch()
    client = engine.begin("checkpoint", "create", "web", "one", stderr=subprocess.PIPE, text=True)
    begun = engine.directory / "waits.begun"
    wait_until(begun.exists, "criu")
    worker, waiting = map(int, begun.read_text().split())
    begun.unlink()

    if victim == "daemon":
        engine.kill()
        engine.start()
    else:
        kill(worker)
    _, error = client.communicate(timeout=30)
    subprocess.run(["pkill", "-KILL", "-P", str(waiting)], check=False)

    assert client.returncode == 1, error
    then = reached(engine)
    wait_until(lambda: reached(engine) > then, "it goes on")
    assert engine.inspect("web", ".State.Status") == "running"
    assert engine.ok("checkpoint", "ls", "web").split() == ["CHECKPOINT", "NAME"]
    then = checkpointed(engine)
    engine.ok("start", "--checkpoint", "one", "web")
    wait_until(lambda: reached(engine) > then, "it goes on")
