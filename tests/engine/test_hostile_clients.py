"""Clients that lie: bytes that can be read as HTTP in two ways, and texts that want to be something else."""

import itertools
import json
import time

import pytest

pytestmark = pytest.mark.usefixtures("removed")

PING = b"GET /_ping HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n"
LF = "\n"
FORGED = "\npyrund: forged\r\n\x1b[2K\x00\ud800"


def head(*lines, first="POST /containers/create HTTP/1.1"):
    return "\r\n".join([first, "Host: d", *lines, "", ""]).encode("latin-1")


@pytest.mark.parametrize(
    ("data", "status"),
    [
        (head("Transfer-Encoding: chunked, identity"), 501),
        (head("Transfer-Encoding: identity"), 501),
        (head("Transfer-Encoding: chunked", "Transfer-Encoding: identity"), 400),
        (head("Transfer-Encoding : chunked"), 400),
        (head(" Transfer-Encoding: chunked"), 400),
        (head("Transfer-Encoding: \x0bchunked"), 400),
        (head(f"X: a{LF}Transfer-Encoding: chunked"), 400),
        (head("X: a\rTransfer-Encoding: chunked"), 400),
        (head("X: a\0b"), 400),
        (head("Content-Length: +5"), 400),
        (head("Content-Length: 5, 5"), 400),
        (head("Content-Length: 0x5"), 400),
        (head("Content-Length: \xb2"), 400),
        (head("Content-Length: "), 400),
        (head("Transfer-Encoding: chunked") + b"0x5\r\nhello\r\n0\r\n\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"+5\r\nhello\r\n0\r\n\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"5\nhello\r\n0\r\n\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"5\r\nhelloX\r\n0\r\n\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"fffffffffffffffff\r\n", 400),
        (head("Transfer-Encoding: chunked") + b"5;" + b"x" * 100_000 + b"\r\n", 431),
        (head("Host: other"), 400),
        (head(*["X: y"] * 20_000), 431),
        (head(first=f"GET /{'x' * 100_000} HTTP/1.1"), 431),
        (head(first="GET  /_ping HTTP/1.1"), 400),
        (head(first="GET /_ping HTTP/1.1 "), 400),
        (head(first="GET\t/_ping\tHTTP/1.1"), 400),
        (head(first="GET /\xe4 HTTP/1.1"), 400),
        (head(first="PRI * HTTP/2.0"), 505),
    ],
    ids=lambda value: repr(value[:90])[2:] if isinstance(value, bytes) else str(value),
)
def test_what_can_be_read_in_two_ways_is_refused_and_nothing_after_it_is_read(engine, data, status):
    answered = engine.exchange(data + PING)

    assert answered.startswith(b"HTTP/1.1 %d " % status), answered
    assert answered.count(b"HTTP/1.1 ") == 1


@pytest.mark.parametrize("path", ["/_ping", "/nosuch", "/containers/json", "/containers/nosuch/json"])
@pytest.mark.parametrize("method", ["GET", "HEAD", "DELETE", "POST"])
def test_a_body_is_never_the_next_request(engine, method, path):
    smuggled = b"GET /version HTTP/1.1\r\nHost: d\r\n\r\n"
    data = f"{method} {path} HTTP/1.1\r\nHost: d\r\nContent-Length: {len(smuggled)}\r\n\r\n".encode() + smuggled + PING

    answered = engine.exchange(data)

    assert answered.count(b"HTTP/1.1 ") == 2
    assert answered.endswith(b"\r\n\r\nOK")
    assert b"MinAPIVersion" not in answered


@pytest.mark.parametrize(
    "target",
    [
        "POST /v1.99/build",
        "POST /build?squash=1",
        "POST /build?version=2",
        "POST /v1.1/images/load",
        "POST /images/create?fromSrc=http://h.example/x",
        "PUT /containers/nosuch/archive?path=/",
    ],
)
def test_the_body_of_a_refused_upload_is_never_the_next_request(engine, target):
    smuggled = b"GET /version HTTP/1.1\r\nHost: d\r\n\r\n"

    answered = engine.exchange(head(f"Content-Length: {len(smuggled)}", first=f"{target} HTTP/1.1") + smuggled + PING)

    assert answered.count(b"HTTP/1.1 ") == 1
    assert b"\r\nConnection: close\r\n" in answered


def test_no_text_of_a_client_writes_a_line_of_the_daemon_s_log(engine):
    quoted = "%0Apyrund:%20forged%0D%0A%1B"
    host = {"NetworkMode": "none"}
    for body in (
        {"Image": FORGED},
        {"Image": "busybox", "Cmd": [FORGED], "HostConfig": host},
        {"Image": "busybox", "Cmd": ["true"], "Env": [f"A={FORGED}"], "HostConfig": host},
        {"Image": "busybox", "Cmd": ["true"], "User": FORGED, "HostConfig": host},
        {"Image": "busybox", "Cmd": ["true"], "WorkingDir": f"/{FORGED}", "HostConfig": host},
        {"Image": "busybox", "Cmd": ["true"], "Hostname": FORGED, "HostConfig": host},
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {"NetworkMode": FORGED}},
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {**host, "Binds": [f"/{FORGED}:/x"]}},
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {**host, "Sysctls": {FORGED: FORGED}}},
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {**host, "CgroupParent": FORGED}},
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {**host, "Annotations": {FORGED: FORGED}}},
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {**host, "SecurityOpt": [FORGED]}},
        {"Image": "busybox", "Cmd": ["true"], "HostConfig": {**host, "LogConfig": {"Type": FORGED}}},
    ):
        status, answer = engine.call("POST", "/containers/create", body)
        if status == 201:
            engine.call("POST", f"/containers/{answer['Id']}/start")
    for method, path in (
        ("POST", f"/containers/create?name={quoted}"),
        ("GET", f"/containers/{quoted}/json"),
        ("POST", f"/images/create?fromImage={quoted}"),
        ("POST", f"/images/busybox/tag?repo={quoted}"),
        ("POST", f"/volumes/{quoted}"),
        ("GET", f"/{quoted}"),
    ):
        engine.call(method, path, {"Image": "busybox"})
    engine.call("POST", "/volumes/create", {"Name": FORGED})
    engine.call("POST", "/networks/create", {"Name": FORGED, "Labels": {FORGED: FORGED}})

    lines = engine.log.read_text().splitlines()
    assert not any(line.startswith("pyrund: forged") for line in lines)
    assert "Traceback" not in engine.log.read_text()


def test_labels_are_kept_as_they_are(engine):
    labels = {"a\nb": "c\r\n\x1b[31m", "ä": "\N{GRINNING FACE}", "": "empty", "null": "\0", "quote": "\"'\\</script>"}
    body = {"Image": "busybox", "Cmd": ["true"], "Labels": labels, "HostConfig": {"NetworkMode": "none"}}

    _, created = engine.call("POST", "/containers/create", body)
    engine.kill()
    engine.start()

    assert engine.call("GET", f"/containers/{created['Id']}/json")[1]["Config"]["Labels"] == labels
    assert engine.call("GET", "/containers/json?all=1")[1][0]["Labels"] == labels


def test_half_a_character_in_a_label_ends_no_request(engine):
    body = b'{"Image": "busybox", "Cmd": ["true"], "Labels": {"a": "\\ud800"}, "HostConfig": {"NetworkMode": "none"}}'
    create = head("Connection: close", f"Content-Length: {len(body)}") + body

    assert engine.exchange(create).startswith(b"HTTP/1.1 201 ")

    assert engine.call("GET", "/containers/json?all=1")[0] == 200
    assert engine.ok("ps", "-a", "--format", "{{.Labels}}") == "a=\ufffd"


def test_a_program_cannot_forge_a_line_of_its_log(engine):
    forged = '"}\n{"log":"forged\\n","stream":"stderr","time":"2020-01-01T00:00:00Z"}\n'
    engine.ok("run", "--name", "web", "--network=none", "busybox", "printf", "%s", forged)

    assert engine.ok("logs", "web") == forged.strip()
    with open(engine.inspect("web", ".LogPath")) as file:
        entries = [json.loads(line) for line in file]
    assert {entry["stream"] for entry in entries} == {"stdout"}
    assert not any(entry["time"].startswith("2020") for entry in entries)


def test_a_filter_of_thousands_of_expressions_delays_nobody(engine):
    for number in range(60):
        engine.call("POST", "/volumes/create", {"Name": f"volume-{number}"})
    expressions = "|".join("".join(letters) + "." for letters in itertools.product("ABCDEFGHIJKLMNOPQRSTU", repeat=3))

    begun = time.monotonic()
    listed = engine.call("GET", f'/volumes?filters={{"name":["{expressions}|volume-7"]}}')

    assert [one["Name"] for one in listed[1]["Volumes"]] == ["volume-7"]
    assert time.monotonic() - begun < 1
    engine.call("POST", '/volumes/prune?filters={"all":["1"]}')
