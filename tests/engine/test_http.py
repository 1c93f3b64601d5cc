"""HTTP as clients speak it on the socket: what is read, what is answered, and when the connection is closed."""

import json
import socket
import struct
import time

import pytest
from beside_dockerd import asked
from daemon import read_all, read_until
from images import entry, tar

pytestmark = pytest.mark.usefixtures("removed")

CLOSE = "Host: d\r\nConnection: close\r\n"


def get(path, more=CLOSE, method="GET"):
    return f"{method} {path} HTTP/1.1\r\n{more}\r\n".encode()


def answer(data):
    """Return (status, headers, body) of a response with a length."""
    head, _, body = data.partition(b"\r\n\r\n")
    line, *lines = head.decode().split("\r\n")
    headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in lines)}
    return int(line.split(" ")[1]), headers, body


def message(data):
    status, _, body = answer(data)
    return status, json.loads(body)["message"]


def receive(connection):
    """Return the next response with a length; the connection stays open."""
    data = read_until(connection, b"\r\n\r\n")
    status, headers, body = answer(data)
    while len(body) < int(headers.get("content-length", 0)):
        body += connection.recv(4096)
    return status, headers, body


def test_ping_tells_the_version(engine):
    status, headers, body = answer(engine.exchange(get("/_ping")))

    assert (status, body) == (200, b"OK")
    assert headers["api-version"] == "1.51"
    assert headers["content-type"] == "text/plain; charset=utf-8"
    assert headers["cache-control"] == "no-cache, no-store, must-revalidate"


def test_a_head_of_ping_has_no_body(engine):
    assert answer(engine.exchange(get("/_ping", method="HEAD")))[2] == b""


@pytest.mark.parametrize(
    ("prefix", "words"),
    [
        ("/v1.99", "client version 1.99 is too new. Maximum supported API version is 1.51"),
        (
            "/v1.1",
            "client version 1.1 is too old. Minimum supported API version is 1.24, "
            "please upgrade your client to a newer version",
        ),
    ],
)
def test_a_version_out_of_range_is_refused(engine, prefix, words):
    assert message(engine.exchange(get(f"{prefix}/info"))) == (400, words)


def test_without_a_version_the_newest_is_meant(engine):
    assert answer(engine.exchange(get("/version")))[0] == 200


def test_an_unknown_path_is_not_found(engine):
    assert message(engine.exchange(get("/v1.41/nosuch"))) == (404, "page not found")


@pytest.mark.parametrize(
    ("method", "path", "what"),
    [
        ("POST", "/plugins/pull", "managed plugins"),
        ("POST", "/swarm/init", "swarm mode"),
    ],
)
def test_what_is_missing_is_said_by_its_name(engine, method, path, what):
    answered = message(engine.exchange(get(path, method=method)))

    assert answered == (501, f"{what}: not part of this engine yet")


def test_a_connection_serves_one_request_after_the_other_also_after_an_error(engine):
    with engine.connect() as connection:
        statuses = []
        for path in ("/_ping", "/nosuch", "/containers/nosuch/json", "/version"):
            connection.sendall(get(path, "Host: d\r\n"))
            statuses.append(receive(connection)[0])

    assert statuses == [200, 404, 404, 200]


def test_requests_may_come_before_the_answers_are_read(engine):
    data = engine.exchange(get("/_ping", "Host: d\r\n") * 2 + get("/_ping"))

    assert data.count(b"HTTP/1.1 200 OK") == 3


def test_a_body_may_come_in_chunks(engine):
    body = json.dumps({"Image": "nosuch"}).encode()
    head = get("/containers/create", f"{CLOSE}Transfer-Encoding: chunked\r\n", "POST")
    pieces = b"".join(b"%x;extension=1\r\n%b\r\n" % (len(part), part) for part in (body[:5], body[5:]))

    assert message(engine.exchange(head + pieces + b"0\r\nTrailer: x\r\n\r\n")) == (404, "No such image: nosuch:latest")


def test_a_request_may_come_byte_by_byte(engine):
    with engine.connect() as connection:
        for byte in get("/_ping"):
            connection.sendall(bytes([byte]))
        assert read_all(connection).startswith(b"HTTP/1.1 200 OK")


def test_a_client_that_expects_100_gets_it_before_it_sends_the_body(engine):
    body = b'{"Image": "nosuch"}'
    with engine.connect() as connection:
        more = f"{CLOSE}Expect: 100-continue\r\nContent-Length: {len(body)}\r\n"
        connection.sendall(get("/containers/create", more, "POST"))
        first = read_until(connection, b"\r\n\r\n")
        connection.sendall(body)
        assert first == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert message(read_all(connection))[0] == 404


def test_a_client_of_http_1_0_gets_one_answer(engine):
    data = engine.exchange(b"GET /_ping HTTP/1.0\r\n\r\n")

    assert data.endswith(b"OK")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (b"nonsense\r\n\r\n", 400),
        (b"GET / HTTP/2.0\r\n\r\n", 505),
        (b"GET /%zz HTTP/1.1\r\n\r\n", 400),
        (b"GET /%ff HTTP/1.1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nBad Header: 1\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\n continued: 1\r\n\r\n", 400),
        (b"POST /build HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", 400),
        (b"POST /build HTTP/1.1\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n", 400),
        (b"POST /build HTTP/1.1\r\nContent-Length: -1\r\n\r\n", 400),
        (b"POST /build HTTP/1.1\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
        (b"POST /build HTTP/1.1\r\nTransfer-Encoding: gzip\r\n\r\n", 501),
        (b"POST /build HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n-1\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * 100_000 + b"\r\n\r\n", 431),
    ],
    ids=lambda value: value[:40].decode("latin-1") if isinstance(value, bytes) else str(value),
)
def test_what_is_not_http_is_refused_and_the_connection_closed(engine, data, status):
    follower = get("/_ping")

    answered = engine.exchange(data + follower)

    assert answered.startswith(b"HTTP/1.1 %d " % status)
    assert answered.count(b"HTTP/1.1") == 1


def test_a_body_that_is_no_object_is_refused(engine):
    body = b"[1]"
    data = get("/containers/create", f"{CLOSE}Content-Length: {len(body)}\r\n", "POST") + body

    assert message(engine.exchange(data)) == (400, "invalid JSON: expected an object")


def test_idle_and_half_sent_connections_do_not_stop_others(engine):
    with engine.connect(), engine.connect() as half:
        half.sendall(b"GET /_ping HT")
        assert answer(engine.exchange(get("/_ping")))[0] == 200


# Streams. The client's bytes may come together with its request, and it may end its side first.

UPGRADE = "Host: d\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n"


def created(engine, *command, **config):
    body = {"Image": "busybox", "Cmd": list(command), "HostConfig": {"NetworkMode": "none"}, **config}
    status, answered = engine.call("POST", "/containers/create", body)
    assert status == 201, answered
    return answered["Id"]


def frames(data):
    found = []
    while data:
        kind, size = struct.unpack(">BxxxL", data[:8])
        found.append((kind, data[8 : 8 + size]))
        data = data[8 + size :]
    return found


def test_attach_upgrades_and_reads_what_came_with_the_request(engine):
    id_ = created(engine, "cat", OpenStdin=True, StdinOnce=True)
    with engine.connect() as connection:
        path = f"/containers/{id_}/attach?stream=1&stdin=1&stdout=1&stderr=1"
        connection.sendall(get(path, UPGRADE, "POST") + b"came with the request\n")
        connection.shutdown(socket.SHUT_WR)
        head = read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        data = read_all(connection)

    assert head == (
        b"HTTP/1.1 101 UPGRADED\r\nContent-Type: application/vnd.docker.multiplexed-stream\r\n"
        b"Connection: Upgrade\r\nUpgrade: tcp\r\n\r\n"
    )
    assert frames(data) == [(1, b"came with the request\n")]


def test_clients_of_old_versions_get_the_old_content_type(engine):
    id_ = created(engine, "true")
    with engine.connect() as connection:
        connection.sendall(get(f"/v1.41/containers/{id_}/attach?stream=1&stdout=1", UPGRADE, "POST"))
        assert b"application/vnd.docker.raw-stream" in read_until(connection, b"\r\n\r\n")


def test_attach_without_upgrade_turns_the_response_into_the_stream(engine):
    id_ = created(engine, "sh", "-c", "echo out; echo error >&2")
    with engine.connect() as connection:
        connection.sendall(get(f"/containers/{id_}/attach?stream=1&stdout=1&stderr=1", "Host: d\r\n", "POST"))
        head = read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        data = read_all(connection)

    assert head == b"HTTP/1.1 200 OK\r\nContent-Type: application/vnd.docker.raw-stream\r\n\r\n"
    assert sorted(frames(data)) == [(1, b"out\n"), (2, b"error\n")]


def test_a_terminal_is_not_framed(engine):
    id_ = created(engine, "echo", "out", Tty=True)
    with engine.connect() as connection:
        connection.sendall(get(f"/containers/{id_}/attach?stream=1&stdout=1", UPGRADE, "POST"))
        assert b"raw-stream" in read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        assert read_all(connection) == b"out\r\n"


def test_wait_sends_its_head_before_the_container_starts(engine):
    id_ = created(engine, "sh", "-c", "exit 3")
    with engine.connect() as connection:
        connection.sendall(get(f"/containers/{id_}/wait?condition=next-exit", CLOSE, "POST"))
        head = read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        body = read_all(connection)

    assert head.startswith(b"HTTP/1.1 200 OK")
    assert b'{"StatusCode":3}' in body


def test_output_goes_on_after_the_client_has_ended_its_side(engine):
    id_ = created(engine, "sh", "-c", "cat; echo after the end", OpenStdin=True, StdinOnce=True)
    with engine.connect() as connection:
        connection.sendall(get(f"/containers/{id_}/attach?stream=1&stdin=1&stdout=1", UPGRADE, "POST"))
        read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        connection.sendall(b"typed\n")
        connection.shutdown(socket.SHUT_WR)
        data = b"".join(text for _, text in frames(read_all(connection)))

    assert data == b"typed\nafter the end\n"


def test_detach_keys_leave_the_container_running(engine):
    id_ = created(engine, "cat", Tty=True, OpenStdin=True)
    with engine.connect() as connection:
        connection.sendall(get(f"/containers/{id_}/attach?stream=1&stdin=1&stdout=1", UPGRADE, "POST"))
        read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        connection.sendall(b"one\n")
        read_until(connection, b"one\r\n")
        connection.sendall(b"\x10")
        connection.sendall(b"\x11two\n")
        data = read_all(connection)

    assert b"two" not in data
    assert engine.inspect(id_, ".State.Running")
    options = ("--since", "1", "--until", f"{time.time():.9f}", "--filter", "event=detach", "--format", "{{.Actor.ID}}")
    assert engine.ok("events", *options) == id_


def test_detach_keys_that_nobody_can_type_are_refused(engine):
    id_ = created(engine, "true")

    answered = message(engine.exchange(get(f"/containers/{id_}/attach?stream=1&detachKeys=ctrl-%C3%A4", CLOSE, "POST")))

    assert answered == (400, "Invalid detach keys (ctrl-ä) provided")


def test_a_client_that_does_not_read_stops_neither_the_daemon_nor_the_end(engine):
    id_ = created(engine, "sh", "-c", "cat /bin/busybox; exit 4")
    with engine.connect() as connection:
        connection.sendall(get(f"/containers/{id_}/attach?stream=1&stdout=1", UPGRADE, "POST"))
        read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        assert answer(engine.exchange(get("/_ping")))[0] == 200
        size = sum(len(text) for _, text in frames(read_all(connection)))

    assert size > 1 << 20
    assert engine.ok("wait", id_) == "4"


def test_a_connection_goes_on_after_wait(engine):
    id_ = created(engine, "true")
    with engine.connect() as connection:
        connection.sendall(get(f"/containers/{id_}/wait?condition=next-exit", "Host: d\r\n", "POST"))
        read_until(connection, b"\r\n\r\n")
        engine.call("POST", f"/containers/{id_}/start")
        read_until(connection, b"0\r\n\r\n")
        connection.sendall(get("/_ping", "Host: d\r\n"))
        assert receive(connection)[0] == 200


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ({"Cmd": [1]}, "invalid JSON: Cmd: expected strings"),
        ({"Env": "A=b"}, "invalid JSON: Env: expected strings"),
        ({"Env": ["=b"]}, "invalid environment variable: =b"),
        ({"Labels": ["a"]}, "invalid JSON: Labels: expected an object"),
        ({"User": 1}, "invalid JSON: User: expected a string"),
        ({"HostConfig": [1]}, "invalid JSON: HostConfig: expected an object"),
        ({"HostConfig": {"NetworkMode": "none", "Binds": [1]}}, "invalid JSON: HostConfig.Binds: expected strings"),
        ({"HostConfig": {"NetworkMode": "none", "Memory": "much"}}, "HostConfig.Memory: expected a number"),
        ({"HostConfig": {"NetworkMode": "none", "Mounts": [3]}}, "HostConfig.Mounts[0]: expected an object"),
        ({"HostConfig": {"NetworkMode": "none", "Nosuch": 1}}, "HostConfig.Nosuch=1: not part of this engine yet"),
        ({"Cmd": [], "Entrypoint": [""]}, "no command specified"),
        ({"Image": ""}, "an image is required"),
    ],
    ids=lambda value: json.dumps(value)[:60] if isinstance(value, dict) else "",
)
def test_a_container_of_wrong_types_is_refused(engine, body, words):
    wanted = {"Image": "busybox", "HostConfig": {"NetworkMode": "none"}, **body}

    status, answered = engine.call("POST", "/containers/create", wanted)

    assert status in (400, 501)
    assert words in answered["message"]
    assert engine.left_over() == {}


def test_a_deep_body_is_refused(engine):
    body = b"[" * 100_000
    data = get("/containers/create", f"{CLOSE}Content-Length: {len(body)}\r\n", "POST") + body

    assert answer(engine.exchange(data))[0] == 400


@pytest.mark.parametrize("path", ["/images/load", "/images/create?fromSrc=-", "/build"])
def test_a_response_after_which_the_connection_ends_says_so(engine, path):
    """The worker that reads such a body may leave some of it unread."""
    archive = engine.docker("save", "busybox", text=False).stdout
    if path == "/build":
        archive = tar(entry("Dockerfile", data=b"FROM busybox\n"))
    with engine.connect() as connection:
        head = f"POST {path} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(archive)}\r\n\r\n"
        connection.sendall(head.encode() + archive)

        answer = read_all(connection)
    assert answer.startswith(b"HTTP/1.1 200 ")
    assert b"\r\nConnection: close\r\n" in answer
    assert answer.endswith(b"\r\n0\r\n\r\n")


OF_A_SWARM = (
    *(("POST", f"/{name}/create") for name in ("services", "secrets", "configs")),
    *(("DELETE", f"/{name}/x") for name in ("services", "secrets", "configs", "nodes")),
    *(("POST", f"/{name}/x/update?version=1") for name in ("services", "nodes")),
    ("POST", "/swarm/leave"),
    ("POST", "/swarm/update?version=1"),
    ("GET", "/services/x/logs?stdout=1"),
)
OF_PLUGINS = (
    ("DELETE", "/plugins/own/x"),
    *(("POST", f"/plugins/own/x/{action}") for action in ("disable", "set", "push")),
)


@pytest.mark.parametrize(("method", "path"), [*OF_A_SWARM, *OF_PLUGINS])
def test_requests_of_swarms_and_plugins_are_answered_as_by_dockerd(engine, dockerd, method, path):
    body = b"[]" if "/set" in path else b'{"Name": "x"}'
    own, theirs = (asked(one, method, path, body, {"Content-Type": "application/json"}) for one in (engine, dockerd))

    assert own == theirs
    assert own[0] in (404, 503)
