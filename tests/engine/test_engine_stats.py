"""`docker stats`: what the kernel has counted, once and as a stream."""

import json
import time

import pytest
from daemon import wait_until

pytestmark = pytest.mark.usefixtures("removed")

KEYS = "blkio_stats cpu_stats id memory_stats name num_procs pids_stats precpu_stats preread read storage_stats"


@pytest.fixture
def busy(engine):
    words = ("--network=none", "-m", "64m", "--pids-limit", "50")
    return engine.ok("run", "-d", "--name", "web", *words, "busybox", "sh", "-c", "while true; do true; done")


def stats(engine, query="?stream=0&one-shot=1"):
    return engine.call("GET", f"/containers/web/stats{query}")[1]


def test_a_sample_has_what_the_cgroup_counts(engine, busy):
    found = stats(engine)

    assert " ".join(sorted(found)) == KEYS
    assert (found["id"], found["name"]) == (busy, "/web")
    assert found["pids_stats"] == {"current": 1, "limit": 50}
    assert found["memory_stats"]["limit"] == 64 << 20
    assert 0 < found["memory_stats"]["usage"] < 64 << 20
    assert found["cpu_stats"]["system_cpu_usage"] > found["cpu_stats"]["cpu_usage"]["total_usage"]
    assert found["precpu_stats"]["cpu_usage"]["total_usage"] == 0


def test_two_samples_a_second_apart_show_the_usage_of_the_cpu(engine, busy):
    before = time.monotonic()
    found = stats(engine, "?stream=0")

    assert time.monotonic() - before >= 1
    assert found["preread"] < found["read"]
    now, earlier = found["cpu_stats"], found["precpu_stats"]
    used = now["cpu_usage"]["total_usage"] - earlier["cpu_usage"]["total_usage"]
    assert 0.05e9 < used < 2e9
    assert now["system_cpu_usage"] > earlier["system_cpu_usage"]


def test_a_stream_goes_on_after_the_end_of_the_container(engine, busy):
    with engine.connect() as connection:
        connection.sendall(b"GET /containers/web/stats HTTP/1.1\r\nHost: d\r\n\r\n")
        lines = connection.makefile("rb")
        samples = (json.loads(line) for line in lines if line.startswith(b"{"))
        assert next(samples)["preread"] == "0001-01-01T00:00:00Z"
        assert next(samples)["pids_stats"]["current"] == 1
        engine.ok("kill", "web")
        wait_until(lambda: next(samples)["pids_stats"] == {}, "a sample of nothing")


def test_the_client_shows_them(engine, busy):
    shown = engine.ok("stats", "--no-stream", "--format", "{{.Name}} {{.MemUsage}} {{.PIDs}}", "web")

    assert shown.startswith("web ") and shown.endswith(" 1") and " / 64MiB " in shown
    assert engine.ok("stats", "--no-stream", "--format", "{{.Name}}") == "web"


def test_a_container_that_does_not_run_has_no_numbers(engine):
    engine.ok("create", "--name", "web", "busybox")

    found = stats(engine, "?stream=0")
    assert (found["read"], found["memory_stats"], found["pids_stats"]) == ("0001-01-01T00:00:00Z", {}, {})
    assert found["cpu_stats"]["cpu_usage"]["total_usage"] == 0


def test_the_interfaces_of_the_container_are_counted(engine):
    engine.ok("run", "-d", "--name", "web", "busybox", "sleep", "1000")
    assert set(stats(engine)["networks"]) == {"eth0"}
    assert set(stats(engine)["networks"]["eth0"]) == {
        f"{way}_{what}" for way in ("rx", "tx") for what in ("bytes", "packets", "errors", "dropped")
    }


def test_stream_and_one_shot_exclude_each_other(engine):
    engine.ok("create", "--name", "web", "busybox")

    status, answer = engine.call("GET", "/containers/web/stats?stream=1&one-shot=1")
    assert (status, answer["message"]) == (400, "cannot have stream=true and one-shot=true")
