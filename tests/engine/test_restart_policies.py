"""Restart policies: when a container is started again, how often, how soon, and what stops that."""

import time
from pathlib import Path

import pytest
from daemon import kill, wait_until

from pyrund.model import restart

pytestmark = pytest.mark.usefixtures("removed")

COUNTS = "echo run >> /runs; exit {}"


def create(engine, policy, *words, name="web"):
    engine.ok("create", "--name", name, "--network=none", "--restart", policy, "busybox", *words)


def count(engine, name="web"):
    return engine.inspect(name, ".RestartCount")


def is_running(engine, name="web"):
    return engine.inspect(name, ".State.Status") == "running"


def test_on_failure_starts_again_as_often_as_it_says(engine):
    create(engine, "on-failure:3", "sh", "-c", "echo run; exit 7")
    engine.ok("start", "web")

    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "the last end")
    assert count(engine) == 3
    assert engine.ok("logs", "web").split() == ["run"] * 4
    assert engine.inspect("web", ".State.ExitCode") == 7


def test_on_failure_leaves_a_success_alone(engine):
    create(engine, "on-failure", "true")
    engine.ok("start", "web")
    assert engine.ok("wait", "web") == "0"

    time.sleep(0.3)
    assert (engine.inspect("web", ".State.Status"), count(engine)) == ("exited", 0)


def test_always_starts_again_after_a_success_and_a_start_by_hand_counts_anew(engine):
    create(engine, "always", "sh", "-c", "sleep 0.05")
    engine.ok("start", "web")
    wait_until(lambda: count(engine) >= 2, "two starts")

    engine.ok("stop", "web")
    stopped = count(engine)
    time.sleep(0.5)
    assert (engine.inspect("web", ".State.Status"), count(engine)) == ("exited", stopped)
    engine.ok("start", "web")
    assert count(engine) < stopped


def test_a_container_that_waits_for_its_next_start_is_restarting(engine):
    create(engine, "always", "false")
    engine.ok("start", "web")
    wait_until(lambda: count(engine) >= 6, "a wait of six seconds")
    wait_until(lambda: engine.inspect("web", ".State.Status") == "restarting", "the wait")

    state = engine.inspect("web", ".State")
    assert (state["Running"], state["Restarting"], state["Pid"], state["ExitCode"]) == (True, True, 0, 1)
    assert engine.ok("ps", "--format", "{{.Status}}").startswith("Restarting (1) ")
    assert engine.ok("ps", "-q", "--filter", "status=restarting")
    assert "is restarting, wait until the container is running" in engine.fails("exec", "web", "true")[1]
    assert "is restarting: stop the container before" in engine.call("DELETE", "/containers/web")[1]["message"]
    assert engine.call("POST", "/containers/web/start") == (304, None)
    assert engine.call("POST", "/containers/web/stop") == (204, None)
    assert engine.inspect("web", ".State.Status") == "exited"


@pytest.mark.parametrize("how", [("stop", "-t", "0"), ("kill",), ("rm", "-f")], ids=" ".join)
def test_what_a_client_has_stopped_stays_down(engine, how):
    create(engine, "always", "sleep", "1000")
    engine.ok("start", "web")

    engine.ok(*how, "web")
    time.sleep(0.4)

    assert engine.ok("ps", "-q") == ""


def test_another_signal_is_not_a_stop(engine):
    create(engine, "always", "sleep", "1000")
    engine.ok("start", "web")

    kill(engine.inspect("web", ".State.Pid"))

    wait_until(lambda: is_running(engine) and count(engine) == 1, "the next start")


def test_the_wait_doubles_and_a_long_run_begins_anew():
    waits = [0.0]
    for _ in range(12):
        waits.append(restart.delay(waits[-1], ran=1))

    assert waits[1:6] == [0.1, 0.2, 0.4, 0.8, 1.6]
    assert waits[-1] == 60
    assert restart.delay(60, ran=10) == 0.1


@pytest.mark.parametrize("by_hand", [False, True], ids=["killed with the machine", "stopped by hand"])
def test_a_daemon_that_begins_starts_what_its_policy_says(engine, by_hand):
    for policy in ("no", "always", "unless-stopped", "on-failure"):
        create(engine, policy, "sleep", "1000", name=policy)
        engine.ok("start", policy)
    pids = {name: engine.inspect(name, ".State.Pid") for name in ("no", "always", "unless-stopped", "on-failure")}
    if by_hand:
        engine.ok("stop", "-t", "0", *pids)
    engine.kill()
    if not by_hand:
        for pid in pids.values():
            kill(pid)
            wait_until(lambda pid=pid: not Path(f"/proc/{pid}").exists(), "the end")
    engine.start()

    expected = ["always"] if by_hand else ["always", "on-failure", "unless-stopped"]
    wait_until(lambda: engine.ok("ps", "--format", "{{.Names}}", "--filter", "status=running"), "starts")
    wait_until(lambda: all(is_running(engine, name) for name in expected), "all starts")
    assert sorted(engine.ok("ps", "--format", "{{.Names}}").split()) == expected


def test_the_count_survives_the_daemon(engine):
    create(engine, "on-failure:5", "sh", "-c", "sleep 0.1; exit 1")
    engine.ok("start", "web")
    wait_until(lambda: count(engine) >= 2, "two starts")

    engine.kill()
    engine.start()

    wait_until(lambda: engine.inspect("web", ".State.Status") == "exited", "the last end")
    assert count(engine) == 5


def test_a_start_that_fails_is_not_tried_again(engine):
    create(engine, "always", "nosuch")
    engine.fails("start", "web")

    time.sleep(0.3)
    assert (engine.inspect("web", ".State.Status"), count(engine)) == ("created", 0)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["--restart", "always", "--rm"], "Conflicting options"),
        (["--restart", "sometimes"], "invalid restart policy"),
        (["--restart", "always:3"], "maximum retry count"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_policy_is_refused(engine, words, text):
    assert text in engine.fails("run", *words, "busybox", "true")[1]
    assert engine.ok("ps", "-aq") == ""


# docker update.


def test_update_changes_the_policy_of_a_running_container(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")

    assert engine.ok("update", "--restart", "on-failure:2", "web") == "web"
    assert engine.inspect("web", ".HostConfig.RestartPolicy") == {"Name": "on-failure", "MaximumRetryCount": 2}
    kill(engine.inspect("web", ".State.Pid"))
    wait_until(lambda: is_running(engine) and count(engine) == 1, "the next start")


def setting(engine, name, v1, v2):
    """Return what the cgroup of the container has."""
    pid = engine.inspect(name, ".State.Pid")
    for line in Path(f"/proc/{pid}/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":")
        if v1.partition(".")[0] in controllers.split(","):
            return Path(f"/sys/fs/cgroup/{controllers}{path}/{v1}").read_text().strip()
    return Path(f"/sys/fs/cgroup{path}/{v2}").read_text().strip()


def test_update_changes_the_limits_of_a_running_container_and_leaves_the_others(engine):
    engine.ok(
        "run", "-d", "--name", "web", "--network=none", "-m", "64m", "--pids-limit", "50", "busybox", "sleep", "99"
    )

    engine.ok("update", "-m", "128m", "--memory-swap", "256m", "--cpu-shares", "512", "web")

    assert setting(engine, "web", "memory.limit_in_bytes", "memory.max") == str(128 << 20)
    assert setting(engine, "web", "pids.max", "pids.max") == "50"
    assert engine.inspect("web", ".HostConfig.Memory") == 128 << 20
    engine.ok("update", "--pids-limit", "-1", "web")
    assert setting(engine, "web", "pids.max", "pids.max") == "max"
    engine.ok("restart", "-t", "0", "web")
    assert setting(engine, "web", "memory.limit_in_bytes", "memory.max") == str(128 << 20)


@pytest.mark.parametrize(
    ("words", "text"),
    [
        (["-m", "1g"], "Memory limit should be smaller than already set memoryswap limit, update the memoryswap"),
        (["-m", "1m"], "Minimum memory limit allowed is 6MB"),
        (["--cpus", "1000"], "ange of CPUs is from 0.01 to"),
        (["--restart", "sometimes"], "invalid restart policy"),
    ],
    ids=lambda value: " ".join(value) if isinstance(value, list) else None,
)
def test_a_wrong_update_changes_nothing(engine, words, text):
    engine.ok("create", "--name", "web", "-m", "64m", "busybox")
    before = engine.inspect("web", ".HostConfig")

    assert text in engine.fails("update", *words, "web")[1]
    assert engine.inspect("web", ".HostConfig") == before
