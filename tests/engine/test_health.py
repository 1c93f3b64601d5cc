"""Health checks, by docker's rules."""

import json

import pytest
from daemon import Daemon, changed_program, wait_until
from images import Image, busybox_layer, directory, symlink, tar

FOREVER = ("sleep", "1000")
QUICK = ("--health-interval", "100ms", "--health-retries", "2")


def begin(engine, *options):
    return engine.ok("run", "-d", "--network", "none", *options, "busybox", *FOREVER)


def health(engine, id_):
    return engine.inspect(id_, ".State.Health")


def await_status(engine, id_, status):
    wait_until(lambda: health(engine, id_)["Status"] == status, status)


def shown(engine, id_):
    return engine.ok("ps", "--filter", f"id={id_}", "--format", "{{.Status}}")


@pytest.fixture(autouse=True)
def removed(engine):
    yield
    engine.remove_all()


def test_a_container_becomes_unhealthy_and_healthy(engine):
    id_ = begin(engine, "--health-cmd", "[ -e /ok ] || { echo missing; exit 3; }", *QUICK)
    assert shown(engine, id_).endswith("(health: starting)")
    await_status(engine, id_, "unhealthy")
    found = health(engine, id_)

    assert found["FailingStreak"] >= 2 and len(found["Log"]) <= 5
    assert {(one["ExitCode"], one["Output"]) for one in found["Log"]} == {(3, "missing\n")}
    assert shown(engine, id_).endswith("(unhealthy)")
    assert engine.ok("ps", "-q", "--no-trunc", "--filter", "health=unhealthy") == id_

    engine.ok("exec", id_, "touch", "/ok")
    await_status(engine, id_, "healthy")

    assert health(engine, id_)["FailingStreak"] == 0
    assert shown(engine, id_).endswith("(healthy)")
    past = ("events", "--since", "1", "--until", "0s", "--filter", f"container={id_}", "--format", "{{.Action}}")
    changes = ["health_status: unhealthy", "health_status: healthy"]
    wait_until(
        lambda: [line for line in engine.ok(*past).splitlines() if line.startswith("health_status")] == changes,
        "both events",
    )


def create(engine, check):
    """Start a container with a check in docker's JSON, whose times are nanoseconds; return its id."""
    wanted = {"Image": "busybox", "Cmd": list(FOREVER), "HostConfig": {"NetworkMode": "none"}, "Healthcheck": check}
    id_ = engine.call("POST", "/containers/create", wanted)[1]["Id"]
    engine.ok("start", id_)
    return id_


def test_failures_in_the_start_period_do_not_count(engine):
    period = {"StartPeriod": 60_000_000_000, "StartInterval": 100_000_000}
    id_ = create(engine, {"Test": ["CMD", "false"], "Retries": 1, **period})
    wait_until(lambda: len(health(engine, id_)["Log"]) > 2, "results")

    assert health(engine, id_)["FailingStreak"] == 0
    assert health(engine, id_)["Status"] == "starting"


@pytest.mark.parametrize("seconds", [-3600, 3600])
def test_the_start_period_does_not_follow_the_clock_if_that_is_set(hub, tmp_path, monkeypatch, seconds):
    change = (
        f"import time\nold = time.time\ntime.time = lambda: old() + {seconds}"  # the container's start has the old one
    )
    monkeypatch.setattr("daemon.PYRUND", changed_program(tmp_path, change))
    engine = Daemon(hub, tmp_path / "engine", "--bridge", "own0")
    try:
        engine.ok("pull", "busybox")
        times = {"StartPeriod": 6_000_000_000, "StartInterval": 100_000_000, "Interval": 100_000_000}
        id_ = create(engine, {"Test": ["CMD", "false"], "Retries": 1, **times})
        wait_until(lambda: health(engine, id_)["Log"], "a result")
        assert health(engine, id_)["Status"] == "starting"
        await_status(engine, id_, "unhealthy")
    finally:
        engine.remove_all()
        engine.stop()


def test_a_check_that_takes_too_long_is_ended(engine):
    id_ = begin(engine, "--health-cmd", "echo waits; exec sleep 1000", "--health-timeout", "300ms", *QUICK)
    await_status(engine, id_, "unhealthy")
    result = health(engine, id_)["Log"][0]

    assert (result["ExitCode"], result["Output"]) == (-1, "Health check exceeded timeout (300ms): waits\n")
    wait_until(lambda: engine.ok("top", id_).count("sleep 1000") <= 2, "the ends of older checks")


def test_only_the_beginning_of_much_output_is_kept(engine):
    id_ = begin(engine, "--health-cmd", "head -c 1000000 /dev/zero | tr '\\0' x", *QUICK)
    await_status(engine, id_, "healthy")

    assert health(engine, id_)["Log"][0]["Output"] == "x" * 4096 + "..."


def test_a_command_that_is_not_there_makes_a_container_unhealthy(engine):
    id_ = create(engine, {"Test": ["CMD", "/nosuch"], "Interval": 100_000_000, "Retries": 1})
    await_status(engine, id_, "unhealthy")

    assert "/nosuch" in health(engine, id_)["Log"][0]["Output"]


def test_a_paused_container_is_not_checked(engine):
    id_ = begin(engine, "--health-cmd", "true", *QUICK)
    await_status(engine, id_, "healthy")
    engine.ok("pause", id_)
    wait_until(lambda: health(engine, id_)["Log"] == health(engine, id_)["Log"], "the last check")
    before = health(engine, id_)["Log"][-1]["End"]
    engine.ok("run", "--rm", "--network", "none", "busybox", "sleep", "0.5")

    assert health(engine, id_)["Log"][-1]["Start"] <= before
    engine.ok("unpause", id_)
    wait_until(lambda: health(engine, id_)["Log"][-1]["Start"] > before, "another check")


def test_the_checks_go_on_after_one_that_could_not_be_noted(own_engine):
    engine = own_engine
    id_ = begin(engine, "--health-cmd", "true", "--health-retries", "1000", *QUICK)
    await_status(engine, id_, "healthy")
    execs = engine.run / "execs"
    execs.rename(engine.run / "away")
    execs.write_text("")  # as a full disk would be in the way of a folder

    wait_until(lambda: "execs" in health(engine, id_)["Log"][-1]["Output"], "a check that fails")
    execs.unlink()
    (engine.run / "away").rename(execs)
    wait_until(lambda: health(engine, id_)["Log"][-1]["ExitCode"] == 0, "another check")
    engine.remove_all()
    engine.stop()
    engine.start()  # removes the folders that could not be removed meanwhile


def test_the_checks_go_on_when_another_daemon_begins(own_engine):
    id_ = begin(own_engine, "--health-cmd", "true", *QUICK)
    await_status(own_engine, id_, "healthy")
    own_engine.kill()
    own_engine.start()
    await_status(own_engine, id_, "healthy")
    own_engine.remove_all()

    assert own_engine.left_over() == {}


def test_an_image_s_check_is_carried_out_unless_the_client_does_not_want_it(engine, hub):
    names = tar(*(symlink(f"bin/{name}", "busybox") for name in ("sh", "sleep", "echo")), directory("var"))
    check = {"Test": ["CMD-SHELL", "echo of the image"], "Interval": 100_000_000}
    hub.push(Image(busybox_layer(), names, config={"Healthcheck": check, "Env": ["PATH=/bin"]}), "checked:1")
    run = ("run", "-d", "--network", "none")
    id_ = engine.ok(*run, "checked:1", *FOREVER)
    await_status(engine, id_, "healthy")
    without = engine.ok(*run, "--no-healthcheck", "checked:1", *FOREVER)

    assert health(engine, id_)["Log"][0]["Output"] == "of the image\n"
    assert json.loads(engine.ok("inspect", "--format", "{{json .State}}", without)).get("Health") is None
    assert shown(engine, without).startswith("Up ") and "(" not in shown(engine, without)


@pytest.mark.parametrize(
    ("check", "error"),
    [
        ({"Test": ["CMD", "true"], "Interval": 1}, "Interval in Healthcheck cannot be less than 1ms"),
        ({"Test": ["CMD", "true"], "Timeout": -5}, "Timeout in Healthcheck cannot be less than 1ms"),
        ({"Test": ["CMD", "true"], "Retries": -1}, "Retries in Healthcheck cannot be negative"),
        ({"Test": "true"}, "invalid JSON: Healthcheck.Test: expected strings"),
    ],
)
def test_a_check_that_cannot_be_is_refused(engine, check, error):
    status, answer = engine.call(
        "POST", "/containers/create", {"Image": "busybox", "Cmd": ["true"], "Healthcheck": check}
    )

    assert (status, answer["message"]) == (400, error)
