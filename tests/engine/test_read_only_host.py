"""A socket whose clients may only read: exporters and proxies, which need not be as good as root."""

import contextlib
import json
import re
import socket
import subprocess
import threading
import time
from pathlib import Path

import pytest
from daemon import DOCKER, PYRUND, Daemon, read_all, read_until, wait_until
from test_listening import refused

from pyrund.api import routes


@pytest.fixture(scope="module")
def engine(hub, tmp_path_factory):
    directory = tmp_path_factory.mktemp("readers")
    daemon = Daemon(hub, directory, "--read-only-host", f"unix://{directory}/read.sock")
    daemon.ok("pull", "busybox")
    daemon.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sh", "-c", "echo secret; sleep 1000")
    yield daemon
    daemon.remove_all()
    daemon.stop()
    assert daemon.left_over() == {}
    assert "Traceback" not in daemon.log.read_text()
    assert not (directory / "read.sock").exists()


@pytest.fixture
def before(engine):
    """Whatever the test does, the engine is afterwards as it was."""
    known = seen(engine)
    yield
    assert seen(engine) == known


def seen(engine):
    containers = engine.call("GET", "/containers/json?all=1")[1]
    images, networks = engine.call("GET", "/images/json")[1], engine.call("GET", "/networks")[1]
    web = engine.call("GET", "/containers/web/json")[1]
    return (
        [(one["Id"], one["Names"], one["State"]) for one in containers],
        [(one["Id"], one["RepoTags"]) for one in images],
        [one["Id"] for one in networks],
        engine.call("GET", "/volumes")[1]["Volumes"],
        web["State"]["Pid"],
        web["HostConfig"]["Memory"],
    )


def reader(engine, *words, client=DOCKER, **options):
    command = [client, "-H", f"unix://{engine.directory}/read.sock", *map(str, words)]
    return subprocess.run(command, capture_output=True, text=True, timeout=30, **options)


def connect(engine):
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(30)
    connection.connect(f"{engine.directory}/read.sock")
    return connection


def ask(engine, head, body=b""):
    """Send a request as it is given; return all that comes."""
    with connect(engine) as connection:
        connection.sendall(head.encode() + b"\r\nHost: d\r\nConnection: close\r\n\r\n" + body)
        return read_all(connection)


@pytest.mark.parametrize("client", [DOCKER, PYRUND])
@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["ps", "--format", "{{.Names}}"], r"web\n"),
        (["inspect", "--format", "{{.State.Status}}", "web"], r"running\n"),
        (["images", "--format", "{{.Repository}}"], r"busybox\n"),
        (["stats", "--no-stream", "--format", "{{.Name}}"], r"web\n"),
        (["events", "--since", "1", "--until", "0s", "--filter", "event=start", "--format", "{{.Action}}"], r"start\n"),
        (["info", "--format", "{{.ContainersRunning}}"], r"1\n"),
        (["version", "--format", "{{.Server.Os}}"], r"linux\n"),
    ],
    ids=lambda value: value[0] if isinstance(value, list) else "",
)
def test_what_exporters_ask_is_answered(engine, client, words, expected):
    done = reader(engine, *words, client=client)

    assert (done.returncode, done.stderr) == (0, "")
    assert re.fullmatch(expected, done.stdout)


@pytest.mark.parametrize(
    "words",
    [
        ["run", "--rm", "busybox", "true"],
        ["create", "busybox"],
        ["logs", "web"],
        ["cp", "web:/bin/busybox", "-"],
        ["exec", "web", "true"],
        ["export", "web"],
        ["save", "busybox"],
        ["stop", "web"],
        ["kill", "web"],
        ["rm", "-f", "web"],
        ["rename", "web", "other"],
        ["update", "--memory", "1g", "web"],
        ["pull", "busybox"],
        ["rmi", "-f", "busybox"],
        ["tag", "busybox", "other"],
        ["commit", "web"],
        ["volume", "create"],
        ["volume", "rm", "x"],
        ["network", "create", "x"],
        ["top", "web"],
        ["attach", "--no-stdin", "web"],
        ["container", "prune", "-f"],
    ],
    ids=" ".join,
)
def test_what_changes_or_shows_more_is_refused(engine, before, words):
    done = reader(engine, *words)

    assert done.returncode != 0
    assert "secret" not in done.stdout
    if words[0] not in ("cp", "attach"):  # the client does not show what it is told
        assert "this socket is for reading only" in done.stderr


@pytest.mark.parametrize(
    ("head", "status"),
    [
        ("GET /containers/json HTTP/1.1\r\nX-HTTP-Method-Override: DELETE", 200),
        ("POST /containers/web/stop HTTP/1.1\r\nX-HTTP-Method-Override: GET", 403),
        ("DELETE /containers/web?force=1 HTTP/1.1\r\nX-Method-Override: GET", 403),
        ("GET /containers/json?_method=DELETE HTTP/1.1", 200),
        ("get /containers/web/logs?stdout=1 HTTP/1.1", 403),
        ("GET /containers/web/logs?stdout=1 HTTP/1.1", 403),
        ("GET /v1.41/containers/web/logs?stdout=1 HTTP/1.1", 403),
        ("GET /containers/web/logs?stdout=1&x=/json HTTP/1.1", 403),
        ("GET /containers/web%2flogs?stdout=1 HTTP/1.1", 403),
        ("GET /containers/web/%6cogs?stdout=1 HTTP/1.1", 403),
        ("GET //containers/web/logs?stdout=1 HTTP/1.1", 404),
        ("GET /containers//web/logs?stdout=1 HTTP/1.1", 403),
        ("GET /x/../containers/web/logs?stdout=1 HTTP/1.1", 404),
        ("GET /%2e/containers/web/logs?stdout=1 HTTP/1.1", 404),
        ("GET /containers/json/../web/logs?stdout=1 HTTP/1.1", 403),
        ("GET /containers/web/logs/%2e%2e/json HTTP/1.1", 404),
        ("GET /containers/web/export HTTP/1.1", 403),
        ("GET /containers/web/export/json HTTP/1.1", 404),
        ("GET /images/busybox/get HTTP/1.1", 403),
        ("GET /images/get?names=busybox HTTP/1.1", 403),
        ("GET /containers/web/archive?path=/ HTTP/1.1", 403),
        ("HEAD /containers/web/archive?path=/ HTTP/1.1", 403),
        ("GET /containers/web/attach/ws?stream=1&stdout=1&logs=1 HTTP/1.1\r\nUpgrade: websocket", 403),
        ("GET /containers/web/attach?stream=1&stdout=1&logs=1 HTTP/1.1\r\nUpgrade: tcp", 404),
        ("GET /containers/json HTTP/1.1\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__", 200),
        ("POST /containers/web/attach?stream=1&logs=1&stdout=1 HTTP/1.1\r\nUpgrade: tcp", 403),
        ("POST /session HTTP/1.1\r\nUpgrade: h2c", 403),
        ("POST /grpc HTTP/1.1", 403),
        ("OPTIONS /info HTTP/1.1", 403),
        ("PATCH /nothing HTTP/1.1", 403),
        ("PUT /containers/web/archive?path=/ HTTP/1.0", 403),
        ("GET http://d/containers/web/logs HTTP/1.1", 404),
        ("GET /nothing HTTP/1.1", 404),
        ("GET /images/search?term=x HTTP/1.1", 403),
        ("GET /distribution/busybox/json HTTP/1.1", 403),
    ],
)
def test_no_trick_leads_around_it(engine, before, head, status):
    answer = ask(engine, head)

    assert answer.startswith(b"HTTP/1.1 %d " % status), answer
    assert b"secret\n" not in answer
    if status == 403 and not head.startswith("HEAD"):
        assert b'"message":"this socket is for reading only, and ' in answer


def test_the_body_of_a_refused_request_is_no_request(engine, before):
    inner = b"GET /info HTTP/1.1\r\nHost: d\r\n\r\n"
    with connect(engine) as connection:
        connection.sendall(b"POST /build HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n%b" % (len(inner), inner))
        answer = read_all(connection)

    assert answer.count(b"HTTP/1.1") == 1
    assert answer.startswith(b"HTTP/1.1 403 ")


def test_a_connection_goes_on_after_an_answer_and_what_follows_is_looked_at_too(engine, before):
    with connect(engine) as connection:
        connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        read_until(connection, b"OK")
        connection.sendall(b"POST /containers/web/kill HTTP/1.1\r\nHost: d\r\n\r\n")
        assert read_all(connection).startswith(b"HTTP/1.1 403 ")


def test_many_readers_wait_for_each_other_and_not_the_engine_for_them(engine):
    held = [connect(engine) for _ in range(100)]
    try:
        for connection in held:
            connection.sendall(b"GET /containers/web/stats?stream=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        read_until(held[0], b"200 OK")
        assert engine.ok("ps", "--format", "{{.Names}}") == "web"
        held[99].settimeout(0.3)
        with pytest.raises(TimeoutError):
            held[99].recv(1)
    finally:
        for connection in held:
            connection.close()
    wait_until(lambda: json.loads(ask(engine, "GET /info HTTP/1.1").partition(b"\r\n\r\n")[2]), "another reader's turn")


def test_readers_that_ask_nothing_make_room_for_others(engine):
    held = [connect(engine) for _ in range(64)]
    try:
        held[0].sendall(b"GET /containers/web/stats?stream=1 HTTP/1.1\r\nHost: d\r\n\r\n")
        read_until(held[0], b"200 OK")

        assert ask(engine, "GET /_ping HTTP/1.1").startswith(b"HTTP/1.1 200 ")
        assert read_until(held[0], b'"read"')  # it goes on
        assert held[1].recv(1) == b""
    finally:
        for connection in held:
            connection.close()


def test_requests_that_come_together_let_others_have_their_turn(engine):
    number = 400
    with connect(engine) as many, connect(engine) as other:
        for connection in (many, other):
            connection.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
            read_until(connection, b"OK")
        ends = []
        reading = threading.Thread(target=lambda: ends.append(read_until(many, b"page not") and time.monotonic()))
        reading.start()
        begun = time.monotonic()
        many.sendall(number * b"GET /info HTTP/1.1\r\nHost:d\r\n\r\n" + b"GET /last HTTP/1.1\r\nHost:d\r\n\r\n")
        other.sendall(b"GET /_ping HTTP/1.1\r\nHost: d\r\n\r\n")
        read_until(other, b"OK")
        answered = time.monotonic()
        reading.join()

    assert answered - begun < (ends[0] - begun) / 4


CHUNKED = b"GET /info HTTP/1.1\r\nHost: d\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("head", "piece"),
    [
        pytest.param(CHUNKED, b"1\r\nx\r\n", id="chunks of a byte"),
        pytest.param(CHUNKED + b"0\r\n", b"x: y\r\n", id="trailers"),
    ],
)
def test_a_body_that_comes_in_small_pieces_without_a_pause_delays_nobody(engine, head, piece):
    with connect(engine) as connection, flood(connection, head, 100_000 * piece):
        for _ in range(20):
            begun = time.monotonic()
            assert engine.call("GET", "/containers/json")[0] == 200
            assert time.monotonic() - begun < 1
            time.sleep(0.1)


def test_a_body_that_comes_byte_by_byte_takes_no_memory(engine):
    size = 1_000_000
    before = memory(engine)
    with connect(engine) as connection:
        connection.sendall(b"GET /info HTTP/1.1\r\nHost: d\r\nContent-Length: %d\r\n\r\n" % size)
        for _ in range(size):
            connection.send(b"x")
        assert read_until(connection, b"\r\n").startswith(b"HTTP/1.1 200 ")

    assert memory(engine) - before < 60_000  # a timer for each byte would take 140 MB


def memory(engine):
    """Return the kilobytes of memory that the daemon has at present."""
    status = Path(f"/proc/{engine.process.pid}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0])


@contextlib.contextmanager
def flood(connection, head, pieces):
    """Send `pieces` again and again."""

    def send():
        with contextlib.suppress(OSError):
            connection.sendall(head)
            while True:
                connection.sendall(pieces)

    thread = threading.Thread(target=send)
    thread.start()
    try:
        yield
    finally:
        connection.shutdown(socket.SHUT_RDWR)
        thread.join()


def test_the_socket_has_the_owner_and_the_mode_of_the_other_one(engine):
    found = [(engine.directory / name).stat() for name in ("docker.sock", "read.sock")]

    assert found[1].st_mode & 0o777 == found[0].st_mode & 0o777
    assert (found[1].st_uid, found[1].st_gid) == (found[0].st_uid, found[0].st_gid)


@pytest.mark.parametrize("host", ["tcp://127.0.0.1:1", "unix://relative", "/path", "fd://"])
def test_only_a_unix_socket_can_be_for_reading(hub, tmp_path, host):
    error = refused(hub, tmp_path, "-H", f"unix://{tmp_path}/s", "--read-only-host", host)

    assert error == f"pyrund: --read-only-host {host}: expected unix:///PATH\n"
    assert not (tmp_path / "s").exists()


def test_every_route_that_is_open_to_readers_exists(engine):
    known = {route.name for route in routes._router(None)._routes}

    assert known >= routes._OPEN_TO_READERS
    assert {name for name in known if not name.startswith(("POST", "PUT", "DELETE"))} - routes._OPEN_TO_READERS == {
        "GET /containers/{}/archive",
        "GET /containers/{}/attach/ws",
        "GET /containers/{}/checkpoints",
        "GET /containers/{}/export",
        "GET /containers/{}/logs",
        "GET /containers/{}/top",
        "GET /distribution/{}/json",
        "GET /images/get",
        "GET /images/search",
        "GET /images/{}/get",
        "GET /plugins/privileges",
        "HEAD /containers/{}/archive",
    }
