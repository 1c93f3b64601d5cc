"""Containers attached to by a WebSocket: `GET /containers/ID/attach/ws`, as dockerd has it."""

import hashlib
import os
import socket
import sys
import threading
import time

import pytest
import websocket
from daemon import Daemon, read_all, read_until, wait_until

pytestmark = pytest.mark.usefixtures("removed")

KEY = "dGhlIHNhbXBsZSBub25jZQ=="  # of RFC 6455, section 1.3
ACCEPT = b"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo="
HEADERS = f"Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: {KEY}\r\nSec-WebSocket-Version: 13\r\n"
EVERYTHING = "stream=1&stdin=1&stdout=1&stderr=1"


def attach(engine, name, query=EVERYTHING, version="v1.51"):
    found = websocket.WebSocket()
    found.connect(f"ws://d/{version}/containers/{name}/attach/ws?{query}", socket=engine.connect())
    return found


def raw(engine, name, data=b"", query=EVERYTHING):
    """Open a WebSocket by hand, send `data` with the request, and return the connection."""
    connection = engine.connect()
    head = f"GET /containers/{name}/attach/ws?{query} HTTP/1.1\r\nHost: d\r\n{HEADERS}\r\n"
    connection.sendall(head.encode() + data)
    return connection


def run(engine, *words, name="web"):
    engine.ok("run", "-d", "-i", "--name", name, "--network", "none", *words)


def everything(found):
    """Return all data until the server's close frame, and the code of that."""
    data = b""
    while True:
        opcode, payload = found.recv_data()
        if opcode == websocket.ABNF.OPCODE_CLOSE:
            return data, int.from_bytes(payload[:2], "big")
        assert opcode == websocket.ABNF.OPCODE_BINARY
        data += payload


def test_standard_input_goes_in_and_both_outputs_come_out(engine):
    engine.ok(
        "create", "-i", "--name", "web", "--network", "none", "busybox", "sh", "-c", "read a; echo $a; echo err >&2"
    )
    found = attach(engine, "web")
    engine.ok("start", "web")

    found.send_binary(b"hel")
    found.send("lo\n")

    data, code = everything(found)
    assert sorted(data.split()) == [b"err", b"hello"]
    assert code == 1000
    assert engine.ok("wait", "web") == "0"


def test_much_arrives_whole_both_ways(engine):
    run(engine, "busybox", "sh", "-c", "head -c 3000000 | md5sum; head -c 2000000 /dev/zero")
    data = os.urandom(3_000_000)
    found = attach(engine, "web")

    threading.Thread(
        target=lambda: [found.send_binary(data[at : at + 700_000]) for at in range(0, 3_000_000, 700_000)]
    ).start()
    heard, _ = everything(found)

    assert heard.startswith(hashlib.md5(data).hexdigest().encode())
    assert heard.count(b"\0") == 2_000_000


def test_a_terminal_is_attached_and_left_by_its_keys(engine):
    engine.ok("run", "-dit", "--name", "web", "--network", "none", "busybox", "cat")
    found = attach(engine, "web", f"{EVERYTHING}&detachKeys=ctrl-a,x")

    found.send_binary(b"hello\n\x01")
    data = b""
    while len(data) < len(b"hello\r\n" * 2):
        data += found.recv()
    found.send_binary(b"x")

    assert data == b"hello\r\nhello\r\n"
    assert everything(found) == (b"", 1000)
    assert engine.inspect("web", ".State.Running") is True


def test_logs_come_first_and_a_stream_is_chosen(engine):
    run(engine, "busybox", "sh", "-c", "echo out; echo err >&2; read a; echo later; echo too >&2")
    wait_until(lambda: engine.ok("logs", "web") == "out", "the log")
    found = attach(engine, "web", "logs=1&stream=1&stdout=1&stdin=1")
    no_stream = attach(engine, "web", "logs=1&stdout=1&stderr=1")

    assert sorted(everything(no_stream)[0].split()) == [b"err", b"out"]
    found.send_binary(b"\n")

    assert everything(found)[0].split() == [b"out", b"later"]


def test_clients_before_1_42_get_all_streams_and_before_1_28_text(engine):
    run(engine, "busybox", "sh", "-c", "read a; echo $a; echo err >&2; sleep 1000")
    old, older = (attach(engine, "web", "stream=1", version) for version in ("v1.41", "v1.27"))

    old.send_binary(b"hello\n")

    frames = [[one.recv_data() for _ in range(2)] for one in (old, older)]
    assert [sorted(data for _, data in some) for some in frames] == [[b"err\n", b"hello\n"]] * 2
    assert [{kind for kind, _ in some} for some in frames] == [{2}, {1}]


def test_the_client_s_close_is_answered_and_ends_standard_input_alone(engine):
    engine.ok("create", "-i", "--name", "web", "--network", "none", "busybox", "sh", "-c", "cat; sleep 1000")
    found = attach(engine, "web")
    engine.ok("start", "web")
    found.send_binary(b"x\n")
    assert found.recv() == b"x\n"

    found.send_close(4001, b"enough")

    assert found.recv_data() == (websocket.ABNF.OPCODE_CLOSE, (4001).to_bytes(2, "big"))
    assert found.sock.recv(1) == b""
    assert engine.inspect("web", ".State.Running") is True


@pytest.mark.parametrize("query", [EVERYTHING, "stream=1&stdout=1"])
def test_pings_are_answered(engine, query):
    run(engine, "busybox", "sleep", "1000")
    found = attach(engine, "web", query)

    found.ping("are you there?")

    assert found.recv_data_frame(control_frame=True)[1].data == b"are you there?"


def test_what_is_sent_with_the_handshake_is_not_lost_and_that_is_as_in_the_standard(engine):
    run(engine, "busybox", "cat")

    with raw(engine, "web", b"\x81\x85\x37\xfa\x21\x3d\x7f\x9f\x4d\x51\x58") as connection:  # of section 5.7: "Hello"
        head = read_until(connection, b"Hello")

    assert head.startswith(b"HTTP/1.1 101 Switching Protocols\r\n")
    assert ACCEPT in head
    assert head.endswith(b"\r\n\r\n\x82\x05Hello")


@pytest.mark.parametrize("data", [b"\x82\x01x", b"\xf2\x81mask", b"\x80\x81maskx", b"\x89\xfe\x00\x7emask"])
def test_a_client_that_breaks_the_protocol_is_told_and_left(engine, data):
    run(engine, "busybox", "sleep", "1000")

    with raw(engine, "web", data) as connection:
        assert read_all(connection).endswith(b"\r\n\r\n\x88\x02\x03\xea")  # 1002

    assert engine.inspect("web", ".State.Running") is True


def test_a_client_that_floods_or_reads_nothing_delays_nobody(engine):
    run(engine, "busybox", "sh", "-c", "while true; do echo y; sleep 0.01; done")
    flooding = raw(engine, "web", query="stream=1&stdin=1")

    def flood():
        try:
            while True:
                flooding.sendall(b"\x89\xfdmask" + b"x" * 125 + b"\x82\x80mask" * 5000)
        except OSError:
            pass  # the test is over

    thread = threading.Thread(target=flood)
    thread.start()
    other = attach(engine, "web", "stream=1&stdout=1")
    begun = time.monotonic()

    assert other.recv().startswith(b"y")
    assert engine.ok("run", "--rm", "--network", "none", "busybox", "echo", "prompt") == "prompt"
    assert time.monotonic() - begun < 10
    flooding.shutdown(socket.SHUT_RDWR)
    thread.join()
    flooding.close()


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (("Upgrade: websocket\r\n", ""), "not websocket protocol"),
        (("Upgrade: websocket", "Upgrade: tcp"), "not websocket protocol"),
        (("Version: 13", "Version: 8"), "missing or bad WebSocket Version"),
        ((KEY, "short"), "Sec-WebSocket-Key is not 16 bytes"),
        (("web/", "nosuch/"), "No such container: nosuch"),
        (("stream=1", "detachKeys=ctrl-1"), "Invalid detach keys"),
    ],
)
def test_a_handshake_that_is_wrong_is_refused(engine, change, words):
    run(engine, "busybox", "sleep", "1000")
    request = f"GET /containers/web/attach/ws?stream=1 HTTP/1.1\r\nHost: d\r\n{HEADERS}\r\n".replace(*change)

    with engine.connect() as connection:
        connection.sendall(request.encode())
        connection.shutdown(socket.SHUT_WR)
        answer = read_all(connection).decode()

    assert words in answer
    assert answer.startswith(("HTTP/1.1 400", "HTTP/1.1 404"))


def test_docker_py_attaches_by_a_websocket_at_tcp(hub, tmp_path):
    engine = Daemon(hub, tmp_path, "--bridge", "none", "-H", "tcp://127.0.0.1:2379")
    try:
        engine.ok("pull", "busybox")
        run(engine, "busybox", "sh", "-c", "read a; echo hello $a")
        program = (
            "import docker; client = docker.APIClient(base_url='tcp://127.0.0.1:2379')\n"
            "found = client.attach_socket('web', {'stdin': 1, 'stdout': 1, 'stream': 1}, ws=True)\n"
            "found.send('world\\n'); print(found.recv())"
        )
        assert hub.run(sys.executable, "-c", program).stdout.strip() == "b'hello world\\n'"
        engine.remove_all()
    finally:
        engine.stop()
