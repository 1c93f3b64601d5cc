"""Whatever a container or a client does, or does not, other requests are answered as before."""

import os
import signal
import socket
import subprocess
import time

import pytest
from daemon import read_until, unable_to_fork, wait_until

pytestmark = pytest.mark.usefixtures("removed")

PROMPT = 3.0  # seconds; dockerd's own watchdogs take ten, and this machine may be busy
UPGRADE = "Host: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n"


def post(path):
    return f"POST {path} HTTP/1.1\r\n{UPGRADE}".encode()


def assert_prompt(engine):
    """Ask for this and that, and run a container; each answer must come soon."""
    engine.ok("run", "-d", "--name", "other", "--network=none", "busybox", "sleep", "1000")
    for method, path in (
        ("GET", "/_ping"),
        ("GET", "/containers/json?all=1"),
        ("GET", "/containers/other/json"),
        ("GET", "/containers/web/json"),
        ("GET", "/containers/other/top"),
        ("GET", "/images/json"),
        ("GET", "/networks"),
        ("GET", "/info"),
        ("DELETE", "/containers/other?force=1"),
    ):
        begun = time.monotonic()
        with engine.connect() as connection:
            connection.sendall(f"{method} {path} HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n".encode())
            read_until(connection, b"\r\n\r\n")
        assert time.monotonic() - begun < PROMPT, path


def test_a_frozen_container_delays_nobody_and_can_be_removed(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    engine.ok("pause", "web")
    waiting = engine.begin("exec", "web", "true", stderr=-3)
    stopping = engine.begin("stats", "--no-stream", "web", stdout=-3)

    assert_prompt(engine)
    engine.ok("rm", "-f", "web")

    waiting.wait(30)
    stopping.wait(30)


def test_a_stopped_program_delays_nobody(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", "kill -STOP 1; sleep 1000")
    stopping = engine.begin("stop", "-t", "1", "web", stdout=-3)

    assert_prompt(engine)

    assert stopping.wait(30) == 0


def test_a_program_that_reads_nothing_delays_nobody(engine):
    """The pipe to it is full, and so is the connection of the client that fills it."""
    engine.ok("run", "-di", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    with engine.connect() as connection:
        connection.sendall(post("/containers/web/attach?stream=1&stdin=1"))
        read_until(connection, b"\r\n\r\n")
        connection.settimeout(0.5)
        with pytest.raises(TimeoutError):
            while True:
                connection.sendall(bytes(1 << 16))

        assert_prompt(engine)
        engine.ok("rm", "-f", "web")


@pytest.mark.parametrize("path", ["logs?stdout=1&follow=1", "attach?stream=1&stdout=1"])
def test_a_client_that_does_not_read_delays_nobody(engine, path):
    flood = "while true; do cat /bin/busybox; done"
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", flood)
    with engine.connect() as connection:
        connection.sendall(post(f"/containers/web/{path}").replace(b"POST", b"GET" if "logs" in path else b"POST"))

        assert_prompt(engine)
        engine.ok("rm", "-f", "web")


def test_a_client_that_reads_no_events_delays_nobody(engine):
    engine.ok("create", "--name", "web", "--network=none", "--label", f"long={'x' * 20_000}", "busybox")
    with engine.connect() as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        connection.sendall(b"GET /events HTTP/1.1\r\nHost: d\r\n\r\n")
        for number in range(30):
            engine.call("POST", f"/containers/web/rename?name=web{number}")
        engine.call("POST", "/containers/web29/rename?name=web")

        assert_prompt(engine)


def test_too_many_processes_end_one_request_and_no_other(engine):
    """A stream of stats is a child of the process that cannot fork, and ends with it."""
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    launcher = engine.children()["launcher"]
    stats = engine.begin("stats", "web", stdout=subprocess.PIPE, text=True)
    stats.stdout.readline()
    try:
        with unable_to_fork(launcher):
            answers = [engine.call("GET", "/containers/web/top") for _ in range(3)]
            assert answers[0][0] == 200  # by the worker that has waited for it
            assert answers[1:] == [(500, {"message": "fork: Resource temporarily unavailable"})] * 2
            assert stats.poll() is None
    finally:
        stats.kill()
        stats.wait()
    assert engine.children()["launcher"] == launcher
    assert engine.ok("top", "web").count("sleep") == 1


def test_what_failed_to_fork_is_tried_again_when_there_is_a_request(engine):
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    with unable_to_fork(engine.children()["launcher"]):
        assert engine.call("GET", "/containers/web/top")[0] == 200  # by the worker that has waited for it
        wait_until(lambda: engine.workers() + engine.workers("launcher") == [], "its end")

    assert engine.call("GET", "/containers/web/top")[0] == 200


def test_a_worker_that_is_killed_while_it_waits_for_work_is_replaced_when_there_is_a_request(engine):
    """If memory is short, the kernel may kill workers as fast as they are forked."""
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    for _ in range(3):
        wait_until(lambda: engine.workers("launcher"), "a worker that waits")
        (waiting,) = engine.workers("launcher")
        os.kill(waiting, signal.SIGKILL)
        wait_until(lambda: engine.workers("launcher") == [], "its end")
        time.sleep(0.2)

        assert engine.workers("launcher") == []
        assert engine.call("GET", "/containers/web/top")[0] == 200


def test_a_client_that_waits_for_years_delays_nobody(engine):
    """The kernel's longest pause is 24 days."""
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    stopping = engine.begin("stop", "-t", "1000000000", "web", stdout=-3)
    with engine.connect() as connection:
        connection.sendall(b"GET /events?until=9999999999 HTTP/1.1\r\nHost: d\r\n\r\n")
        read_until(connection, b"\r\n\r\n")

        assert_prompt(engine)
    engine.ok("rm", "-f", "web")
    stopping.wait(30)


def test_clients_that_ask_and_read_no_answers_delay_nobody(engine):
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    asked = b"GET /containers/json?all=1 HTTP/1.1\r\nHost: d\r\n\r\n" * 2000
    connections = [engine.connect() for _ in range(5)]
    try:
        for connection in connections:
            connection.setblocking(False)
            connection.send(asked)
        assert_prompt(engine)
    finally:
        for connection in connections:
            connection.close()


def test_a_body_that_does_not_come_delays_nobody(engine):
    """That of a request for a worker, too."""
    engine.ok("create", "--name", "web", "--network=none", "busybox")
    heads = ("PUT /containers/web/archive?path=/", "POST /images/load", "POST /containers/create")
    connections = [engine.connect() for _ in heads]
    try:
        for connection, head in zip(connections, heads):
            connection.sendall(f"{head} HTTP/1.1\r\nHost: d\r\nContent-Length: 100000\r\n\r\nx".encode())
        assert_prompt(engine)
    finally:
        for connection in connections:
            connection.close()


def test_a_volume_that_does_not_answer_delays_nobody(engine, tmp_path):
    """Opening a FIFO that nobody writes to waits for ever, as a file on a dead server does."""
    os.mkfifo(tmp_path / "fifo")
    engine.ok("run", "-d", "--name", "web", "--network=none", "-v", f"{tmp_path}:/v", "busybox", "sleep", "1000")
    reading = engine.begin("cp", "web:/v", "-", stdout=-3, stderr=-3)
    program = engine.begin("exec", "web", "cat", "/v/fifo", stdout=-3)
    try:
        assert_prompt(engine)
    finally:
        reading.kill()
        reading.wait()
        engine.ok("rm", "-f", "web")
        program.wait(30)
    wait_until(lambda: "web" not in engine.ok("ps", "-aq"), "the removal")
