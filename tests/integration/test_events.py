"""events: statistics of a container that runs, again and again or once, and that its memory ran out."""

import json

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")


@pytest.mark.differs("crun", "it has no events")
def test_stats_are_one_object(container):
    container.sleeping()
    event = json.loads(container.works("events", "--stats", container.id))

    assert (event["type"], event["id"]) == ("stats", container.id)
    assert event["data"]["pids"]["current"] == 1


@pytest.mark.only_pyrun("runc and crun may wait for another interval")
def test_they_come_until_the_container_ends(container, bundle):
    bundle.process["args"] = ["sleep", "1"]
    container.run_detached()
    events = [json.loads(line) for line in container.works("events", "--interval=200ms", container.id).splitlines()]

    assert 2 <= len(events) <= 6
    assert {(event["type"], event["id"]) for event in events} == {("stats", container.id)}


@pytest.mark.only_pyrun("runc and crun may wait for another interval")
@pytest.mark.needs("cgroup memory")
def test_they_tell_that_memory_ran_out(container, bundle):
    bundle.resources["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    bundle.process["args"] = ["sh", "-c", "sleep 0.5; tail /dev/zero; sleep 2"]
    container.run_detached()

    assert json.loads(container.works("events", "--interval=1h", container.id)) == {"type": "oom", "id": container.id}


@pytest.mark.only_pyrun("the wording is ours")
@pytest.mark.parametrize("interval", ["0s", "5", "s", "x", "1.1.1s", "-1s"])
def test_what_is_no_interval_is_refused(container, interval):
    container.sleeping()

    assert "interval" in container.fails("events", f"--interval={interval}", container.id)


@pytest.mark.only_pyrun("crun has no events")
def test_a_stopped_container_has_none(container):
    container.run_detached()
    container.wait_until("stopped")

    assert f"container with id {container.id} is not running" in container.fails("events", "--stats", container.id)
