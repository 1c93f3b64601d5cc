"""What several clients ask at the same time, of an engine whose workers are slow."""

import json
from concurrent.futures import ThreadPoolExecutor

import daemon
import pytest
from daemon import changed_program, wait_until

# Workers that take a second before they begin.
SLOW = """
import time
from pyrund.launch import leave, populate, untag
def late(run):
    def run_late(*words):
        time.sleep(1)
        return run(*words)
    return run_late
for module in (leave, populate, untag):
    module.run = late(module.run)
"""


@pytest.fixture(scope="module")
def engine(hub, tmp_path_factory):
    directory = tmp_path_factory.mktemp("slow")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "PYRUND", changed_program(directory, SLOW))
        made = daemon.Daemon(hub, directory / "engine")
    made.ok("pull", "busybox")
    yield made
    made.remove_all()
    made.stop()
    assert made.left_over() == {}
    assert "Traceback" not in made.log.read_text()


@pytest.fixture(autouse=True)
def removed(engine):
    yield
    engine.remove_all()


def test_a_volume_that_a_new_container_takes_is_in_use_while_another_one_is_populated(engine):
    engine.ok("run", "--rm", "--network=none", "-v", "kept:/kept", "busybox", "sh", "-c", "echo kept > /kept/file")
    words = ("-v", "fresh:/bin", "-v", "kept:/kept", "busybox", "cat", "/kept/file")
    creating = engine.begin("create", "--name", "new", "--network=none", *words)
    wait_until(lambda: "fresh" in engine.ok("volume", "ls", "-q"), "the volume that is populated")

    assert "volume is in use" in engine.fails("volume", "rm", "kept")[1]

    assert creating.wait(30) == 0
    assert engine.ok("start", "-a", "new") == "kept"


def test_a_restart_that_is_refused_does_not_end_one_that_goes_on(engine):
    engine.ok("run", "-d", "--rm", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    started = engine.inspect("web", ".State.StartedAt")
    restarting = engine.begin("restart", "-t", "2", "web")  # the init of a pid namespace ignores SIGTERM
    wait_until(lambda: "kill" in actions(engine, "web"), "the signal")

    assert engine.call("POST", "/containers/web/restart?signal=NOSUCH")[0] == 400

    assert restarting.wait(30) == 0
    assert engine.inspect("web", ".State.StartedAt") > started


def actions(engine, name):
    words = ("events", "--since", "1", "--until", "0s", "--filter", f"container={name}", "--format", "{{.Action}}")
    return engine.ok(*words).split()


def test_an_address_is_free_when_its_interface_has_gone(engine):
    engine.ok("network", "create", "--subnet", "10.99.0.0/29", "net")
    engine.ok("run", "-d", "--name", "one", "--network", "net", "busybox", "sleep", "1000")
    engine.ok("create", "--name", "two", "--network", "net", "busybox", "sleep", "1000")
    address = address_of(engine, "one")
    leaving = engine.begin("network", "disconnect", "net", "one")
    wait_until(lambda: address_of(engine, "one") is None, "the container to leave")

    engine.ok("start", "two")

    assert leaving.poll() is None
    assert address_of(engine, "two") not in (None, address)
    assert leaving.wait(30) == 0
    engine.remove_all()
    engine.ok("network", "rm", "net")


def address_of(engine, name):
    networks = json.loads(engine.ok("inspect", "--format", "{{json .NetworkSettings.Networks}}", name))
    return networks["net"]["IPAddress"] if "net" in networks else None


DELETED = {
    "images": "ImagesDeleted",
    "containers": "ContainersDeleted",
    "volumes": "VolumesDeleted",
    "networks": "NetworksDeleted",
}


@pytest.mark.parametrize("kind", DELETED)
def test_only_one_client_prunes_at_a_time(engine, kind):
    engine.ok("run", "--name", "box", "--network=none", "-v", "/own", "busybox", "true")
    engine.ok("network", "create", "unused")
    for _ in range(2):
        engine.ok("commit", "-m", kind, "box", "without-a-name")
    if kind == "volumes":
        engine.ok("rm", "box")

    with ThreadPoolExecutor(3) as pool:
        answers = list(pool.map(lambda _: engine.call("POST", f"/{kind}/prune"), range(3)))

    refused = [answer for answer in answers if answer[0] != 200]
    assert all(answer == (409, {"message": "a prune operation is already running"}) for answer in refused)
    removed = [answer[1][DELETED[kind]] for answer in answers if answer[0] == 200]
    assert [bool(one) for one in removed].count(True) == 1
    assert kind != "images" or len(refused) == 2  # these workers are slow
    engine.docker("rmi", "without-a-name")
    engine.docker("network", "rm", "unused")
