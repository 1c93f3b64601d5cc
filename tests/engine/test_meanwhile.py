"""Clients that get in each other's way, and processes of the engine that are killed meanwhile."""

import functools
import os
import signal
import subprocess
import threading
import time
from pathlib import Path

import daemon
import pytest
from daemon import changed_program, kill, read_all, wait_until
from test_killed_anywhere import monitors_of_execs

# Workers that take half a second before they begin, and a daemon that takes a second before it registers a container.
SLOW = """
import time
from pyrund.daemon import creating
from pyrund.launch import changes, copy_out, export, freeze, join, leave, untag
def late(call, pause):
    def call_late(*words):
        time.sleep(pause)
        return call(*words)
    return call_late
for module in (changes, copy_out, export, join, leave, untag):
    module.run = late(module.run, 0.5)
creating._register = late(creating._register, 1)
freeze_now = freeze.run
def freeze_slowly(places, message, *words):
    time.sleep(message["thaw"] * 0.5)
    freeze_now(places, message, *words)
    time.sleep((not message["thaw"]) * 0.5)
freeze.run = freeze_slowly
"""

# A streams process that tells in the log, when it gets SIGUSR1, of how many programs it knows.
COUNTING = """
import _signal, gc, sys
from pyrund.streams import process, streams
settle = process.settle
def tell(*_):
    print("knows", sum(isinstance(one, streams.Streams) for one in gc.get_objects()), file=sys.stderr, flush=True)
def settle_and_tell(*words):
    settle(*words)
    _signal.signal(_signal.SIGUSR1, tell)
process.settle = settle_and_tell
"""


# Whoever removes a file finds another one in its place, once.
TAKEN = """
from foundation.linux import os
from pyrund.archive import reader
remove, taken = reader.remove, []
def remove_in_vain(name, above):
    remove(name, above)
    if not taken:
        taken.append(name)
        os.close(os.open(name, os.O_WRONLY | os.O_CREAT, 0o600, dir_fd=above))
reader.remove = remove_in_vain
"""


def changed(hub, directory, change):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "PYRUND", changed_program(directory, change))
        made = daemon.Daemon(hub, directory / "engine", "--bridge", "own0")
    try:
        made.ok("pull", "busybox")
        yield made
        made.remove_all()
    finally:
        made.stop()
        hub.run("ip", "link", "del", "own0")
    assert made.left_over() == {}
    assert "Traceback" not in made.log.read_text()


@pytest.fixture
def slow(hub, tmp_path):
    yield from changed(hub, tmp_path, SLOW)


@pytest.fixture
def counting(hub, tmp_path):
    yield from changed(hub, tmp_path, COUNTING)


def run_sleep(engine, *options):
    engine.ok("run", "-d", "--name", "web", "--network=none", *options, "busybox", "sleep", "1000")


# Standard input.


@pytest.mark.parametrize("program", ["exit 5", "head -n 1; exit 5", "sleep 0.3; exit 5"])
def test_what_a_program_does_not_read_is_no_error_of_its_client(engine, removed, program):
    much = "line\n" * 1_000_000
    run_sleep(engine)
    for words in (("run", "-i", "--rm", "--network=none", "busybox"), ("exec", "-i", "web")):
        done = engine.docker(*words, "sh", "-c", program, input=much)

        assert (done.returncode, done.stderr) == (5, "")
        assert done.stdout == ("line\n" if "head" in program else "")


# Another client, or a program of the container, takes a name that is just free.


def test_a_file_that_is_made_meanwhile_is_replaced(hub, tmp_path):
    for taken in changed(hub, tmp_path, TAKEN):
        run_sleep(taken)
        (tmp_path / "tree").mkdir()
        (tmp_path / "tree/file").write_text("content")
        (tmp_path / "tree/link").symlink_to("file")
        (tmp_path / "tree/other").hardlink_to(tmp_path / "tree/file")
        for _ in range(2):
            for name in ("file", "link", "other"):
                taken.ok("cp", tmp_path / "tree" / name, "web:/tmp")
            taken.ok("cp", tmp_path / "tree", "web:/tmp")

        assert taken.ok("exec", "web", "cat", "/tmp/link", "/tmp/tree/other") == "content" * 2


# Another client removes what is just being used.


@pytest.mark.parametrize("what", ["archive?path=/etc", "export", "changes"])
def test_files_of_a_container_that_is_removed_meanwhile_are_not_found(slow, what):
    slow.ok("create", "--name", "web", "--network=none", "busybox")
    answers = []
    asking = threading.Thread(target=lambda: answers.append(slow.call("GET", f"/containers/web/{what}")))
    asking.start()
    time.sleep(0.2)
    slow.ok("rm", "web")
    asking.join()

    assert answers[0][0] == 404
    assert answers[0][1]["message"].startswith("No such container: ")


@pytest.mark.parametrize("verb", ["connect", "disconnect"])
def test_networks_of_a_container_that_ends_meanwhile_stay_as_they_are(slow, verb):
    slow.ok("network", "create", "shop")
    slow.ok(
        "run", "-d", "--name", "web", *(["--network=shop"] if verb == "disconnect" else []), "busybox", "sleep", "99"
    )
    before = slow.inspect("web", ".NetworkSettings.Networks")
    answers = []
    body = {"Container": "web"}
    asking = threading.Thread(target=lambda: answers.append(slow.call("POST", f"/networks/shop/{verb}", body)))
    asking.start()
    time.sleep(0.2)
    kill(slow.inspect("web", ".State.Pid"))
    asking.join()

    assert answers[0][0] == 409 and answers[0][1]["message"].endswith("is not running")
    wait_until(lambda: not slow.inspect("web", ".State.Running"), "its end")
    assert slow.inspect("web", ".NetworkSettings.Networks").keys() == before.keys()
    slow.ok("rm", "web")
    slow.ok("network", "rm", "shop")


def test_a_container_whose_image_is_removed_meanwhile_is_not_made(slow):
    removing = slow.begin("rmi", "busybox", stdout=subprocess.DEVNULL)
    time.sleep(0.2)

    assert "No such image" in slow.fails("create", "--pull=never", "--network=none", "busybox")[1]

    assert removing.wait(30) == 0
    assert slow.ok("ps", "-aq") == ""
    slow.ok("pull", "busybox")


def test_a_client_that_attaches_while_the_container_is_removed_does_not_wait_for_ever(engine):
    """The streams process has just been killed, so both requests wait for the next one."""
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    kill(engine.children()["streams"])
    upgrade = "Host: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    with engine.connect() as connection:
        connection.sendall(f"POST /containers/web/attach?stream=1&stdout=1 HTTP/1.1\r\n{upgrade}".encode())
        engine.ok("rm", "web")
        connection.settimeout(5)
        read_all(connection)


# A worker is killed between freezing and its answer.


def kill_worker(engine):
    for pid in engine.workers():
        kill(pid)


def is_frozen(engine):
    """Return whether the programs of the container are; a process that is executed there would wait."""
    id_ = engine.inspect("web", ".Id")
    paths = (
        f"unified/docker/{id_}/cgroup.freeze",
        f"docker/{id_}/cgroup.freeze",
        f"freezer/docker/{id_}/freezer.state",
    )
    found = [Path("/sys/fs/cgroup", path) for path in paths]
    return any(path.read_text().strip() in ("1", "FROZEN") for path in found if path.exists())


@pytest.mark.parametrize("verb", ["pause", "commit"])
def test_a_container_is_frozen_if_and_only_if_it_is_paused(slow, verb):
    run_sleep(slow)
    words = {"pause": ["pause", "web"], "commit": ["commit", "web", "made"]}[verb]
    freezing = slow.begin(*words, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    if verb == "commit":  # kill the worker that lets it go
        wait_until(lambda: "made" in slow.ok("images"), "the image")
    time.sleep(0.2)
    kill_worker(slow)
    freezing.wait(30)

    assert is_frozen(slow) == (slow.inspect("web", ".State.Status") == "paused")


# The engine is killed.


def test_a_container_that_would_remove_itself_is_removed_if_it_was_never_started(engine, removed):
    """Its client could not start it: the engine was killed before."""
    engine.ok("create", "--rm", "--name", "web", "--network=none", "-v", "/own", "busybox")

    engine.kill()
    engine.start()

    assert engine.ok("ps", "-aq") == ""
    assert engine.ok("volume", "ls", "-q") == ""


def test_a_health_check_outlives_the_streams_process_and_its_monitor_no_engine(engine, removed):
    run_sleep(engine, "--health-cmd", "sleep 2; echo well", "--health-interval", "1s")
    wait_until(lambda: monitors_of_execs(engine), "a check")
    kill(engine.children()["streams"])
    wait_until(lambda: engine.inspect("web", ".State.Health.Log"), "the result")
    assert engine.inspect("web", ".State.Health.Status") == "healthy"
    wait_until(lambda: monitors_of_execs(engine), "another check")
    kill(engine.children()["streams"])
    time.sleep(0.3)

    engine.kill()
    engine.start()
    engine.ok("rm", "-f", "web")

    try:
        wait_until(lambda: monitors_of_execs(engine) == [], "the end of the monitors")
    finally:
        for pid in monitors_of_execs(engine):
            os.kill(int(pid), signal.SIGTERM)


# Memory.


def test_nothing_stays_in_the_streams_process_of_health_checks_that_cannot_begin(counting):
    check = {"Test": ["CMD", "nothing"], "Interval": 1_000_000, "Timeout": 1_000_000_000, "Retries": 1}
    given = {"Image": "busybox", "Cmd": ["sleep", "1000"], "HostConfig": {"NetworkMode": "none"}, "Healthcheck": check}
    assert counting.call("POST", "/containers/create?name=web", given)[0] == 201
    counting.ok("start", "web")
    wait_until(lambda: counting.inspect("web", ".State.Health.FailingStreak") > 20, "checks")

    os.kill(counting.children()["streams"], signal.SIGUSR1)

    wait_until(lambda: "knows" in counting.log.read_text(), "an answer")
    assert int(counting.log.read_text().split("knows ")[1].split()[0]) <= 2  # the container, and a check


@pytest.fixture
def immutable():
    """Let files of the host not be removed."""
    changed = []

    def change(path):
        if subprocess.run(["chattr", "+i", path], capture_output=True).returncode:
            pytest.skip("the file system has no attributes (chattr)")
        changed.append(path)

    yield change
    for path in changed:
        subprocess.run(["chattr", "-i", path])


@pytest.mark.parametrize("client", ["docker", "pyrund"])
def test_a_client_that_waits_for_a_removal_is_told_that_it_has_failed(engine, immutable, client):
    words = ("run", "--rm", "--name", "web", "--network=none", "busybox", "sh", "-c", "echo x > /file; sleep 1")
    begin = engine.begin if client == "docker" else functools.partial(own_client, engine)
    running = begin(*words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_until(lambda: engine.docker("exec", "web", "cat", "/file").stdout == "x\n", "the file")
    file = engine.data / "containers" / engine.inspect("web", ".Id") / "layer/upper/file"
    immutable(file)

    _, error = running.communicate(timeout=20)

    assert running.returncode == 125 and "Operation not permitted" in error
    assert engine.inspect("web", ".State.Status") == "exited"
    subprocess.run(["chattr", "-i", file], check=True)
    engine.ok("rm", "web")
    assert engine.left_over() == {}


def own_client(engine, *words, **options):
    return subprocess.Popen([daemon.PYRUND, "-H", f"unix://{engine.socket}", *words], **options)
