"""Images made of archives at an address (`docker import URL`), beside a real dockerd."""

import gzip
import os
import subprocess
import time
from urllib.parse import quote

import pytest
from beside_dockerd import asked
from daemon import DOCKERS, wait_until
from images import busybox_layer
from web_server import WebServer

pytestmark = pytest.mark.usefixtures("removed")


@pytest.fixture(scope="module")
def web(hub, tmp_path_factory):
    folder = tmp_path_factory.mktemp("served")
    (folder / "root.tar").write_bytes(busybox_layer())
    (folder / "root.tar.gz").write_bytes(gzip.compress(busybox_layer(), 1))
    (folder / "bad.tar").write_bytes(b"x" * 5000)
    made = WebServer(hub, folder, 8766)
    yield made
    made.stop()


def path_of(source, name="got"):
    return f"/images/create?fromSrc={quote(source, safe='')}&repo={name}"


def stored(engine):
    """Return the blobs, the layers and what is half made in the store. Others may just be removed."""
    store = engine.data / "images"
    return {path for pattern in ("blobs/*/*", "layers/*", "partial/.*.part") for path in store.glob(pattern)}


def assert_nothing_is_left(engine, before):
    assert engine.docker("image", "inspect", "got").returncode != 0
    wait_until(lambda: stored(engine) <= before, "the removal of what the failed import has left")


@pytest.mark.parametrize("path", ["file/root.tar", "file/root.tar.gz", "chunks/whole"])
def test_an_archive_at_an_address_becomes_an_image_and_is_told_as_by_dockerd(engine, dockerd, web, path):
    source, answers, since = f"{web.address}/{path}", [], time.time()
    for daemon in (engine, dockerd):
        status, events = asked(daemon, "POST", path_of(source))
        answers.append((status, events[0], {event["status"] for event in events[1:-1] if event}))
        assert events[-1]["status"].startswith("sha256:")
        moved = [event["progressDetail"] for event in events if event.get("progressDetail", {}).get("current")]
        assert all(one["total"] == moved[0]["total"] and one["current"] > 0 for one in moved)
        history = asked(daemon, "GET", "/images/got/history")[1][0]
        assert history[0]["Comment"] == f"Imported from {source}"

    assert answers[0] == answers[1] == (200, {"status": f"Downloading from {source}"}, {"Importing"})
    assert engine.ok("run", "--rm", "--network=none", "got", "/bin/busybox", "echo", "hi") == "hi"
    told = engine.ok("events", "--since", f"{since:.9f}", "--until", f"{time.time():.9f}", "--filter", "event=import")
    assert engine.inspect("got", ".Id") in told
    engine.ok("rmi", "got")


def test_docker_s_client_imports_from_an_address_with_its_options(engine, web):
    source = f"{web.address}/file/root.tar"
    for number, docker in enumerate(DOCKERS):
        name = f"got:{number}"
        shown = engine.ok("import", "-m", "why", "-c", "CMD /bin/sh", source, name, client=docker).splitlines()
        assert (shown[0], shown[-1]) == (f"Downloading from {source}", engine.inspect(name, ".Id"))
        assert engine.inspect(name, ".Config.Cmd") == ["/bin/sh", "-c", "/bin/sh"]
        assert engine.call("GET", f"/images/{name}/history")[1][0]["Comment"] == "why"
    engine.ok("rmi", *(f"got:{number}" for number in range(len(DOCKERS))))


def test_an_address_without_a_scheme_is_one_of_http(engine, web):
    source = f"{web.address}/file/root.tar".removeprefix("http://")

    assert asked(engine, "POST", path_of(source))[1][0] == {"status": f"Downloading from http://{source}"}

    assert engine.call("GET", "/images/got/history")[1][0]["Comment"] == f"Imported from {source}"
    engine.ok("rmi", "got")


@pytest.mark.parametrize("path", ["400", "401", "403", "404", "410", "500", "to/302/ftp://127.0.0.1:1/x"])
def test_what_the_server_refuses_is_told_as_by_dockerd(engine, dockerd, web, path):
    before = stored(engine)

    assert asked(engine, "POST", path_of(f"{web.address}/{path}")) == asked(
        dockerd, "POST", path_of(f"{web.address}/{path}")
    )

    assert_nothing_is_left(engine, before)


@pytest.mark.parametrize("source", ["file:///etc/passwd", "ftp://127.0.0.1/x", "data://text/plain,x"])
def test_what_is_not_of_http_is_refused_as_by_dockerd(engine, dockerd, source):
    answer = asked(engine, "POST", path_of(source))

    assert answer == asked(dockerd, "POST", path_of(source))
    assert (answer[0], "unsupported protocol scheme" in answer[1][0]["message"]) == (500, True)


@pytest.mark.parametrize("source", ["http://127.0.0.1:1/x", "http://[::1/x", "http://a b/x", "http:///x", "://x"])
def test_an_address_that_leads_nowhere_has_dockerd_s_status_and_is_named(engine, dockerd, source):
    status, (answer,) = asked(engine, "POST", path_of(source))

    assert status == asked(dockerd, "POST", path_of(source))[0]
    assert answer["message"].startswith((f'Get "{source}": ', f'parse "{source}": '))


def test_redirects_are_followed(engine, web):
    for status in (301, 302, 303, 307, 308):
        source = f"{web.address}/to/{status}/{web.address}/file/root.tar"
        assert asked(engine, "POST", path_of(source))[1][-1]["status"].startswith("sha256:")
    engine.ok("rmi", "got")


def test_a_name_and_a_password_in_the_address_are_for_its_server(engine, dockerd, web):
    source = f"{web.address}/locked/root.tar".replace("//", "//me:secret@", 1)
    for daemon in (engine, dockerd):
        assert asked(daemon, "POST", path_of(source))[1][-1]["status"].startswith("sha256:")
    assert asked(engine, "POST", path_of(f"{web.address}/to/302/{web.address}/locked/root.tar"))[0] == 401
    engine.ok("rmi", "got")


@pytest.mark.parametrize("path", ["short", "chunks/short", "file/bad.tar"])
def test_what_is_cut_short_or_no_archive_is_an_error_in_the_stream_and_leaves_nothing(engine, dockerd, web, path):
    before = stored(engine)

    for daemon in (engine, dockerd):
        status, events = asked(daemon, "POST", path_of(f"{web.address}/{path}"))
        assert (status, events[-1]["errorDetail"]["message"]) == (200, events[-1]["error"])

    assert_nothing_is_left(engine, before)


def test_a_change_that_cannot_be_is_refused_before_anything_is_fetched(engine):
    status, answer = engine.call("POST", path_of("http://127.0.0.1:1/x") + "&changes=RUN%20true")

    assert (status, answer["message"]) == (400, "RUN is not a valid change command")


@pytest.mark.parametrize("path", ["silent", "slow"])
def test_a_client_that_goes_ends_the_worker_of_a_slow_server(engine, web, path):
    before = stored(engine)
    with engine.connect() as connection:
        connection.sendall(f"POST {path_of(f'{web.address}/{path}')} HTTP/1.1\r\nHost: d\r\n\r\n".encode())
        wait_until(engine.workers, "the worker")
        if path == "slow":
            assert b"200 OK" in connection.recv(1000)
        assert engine.call("GET", "/version")[0] == 200  # it delays nobody

    wait_until(lambda: not engine.workers(), "the end of the worker")
    assert_nothing_is_left(engine, before)


def test_a_server_with_tls_must_be_trusted(engine, hub, tmp_path, monkeypatch, request):
    subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    both = tmp_path / "both.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", *subject]
    subprocess.run([*command, "-keyout", tmp_path / "key", "-out", tmp_path / "pem"], check=True, capture_output=True)
    both.write_bytes((tmp_path / "key").read_bytes() + (tmp_path / "pem").read_bytes())
    os.makedirs(tmp_path / "served")
    (tmp_path / "served/root.tar").write_bytes(busybox_layer())
    server = WebServer(hub, tmp_path / "served", 8767, both)
    try:
        source = f"{server.address}/file/root.tar"
        status, answer = engine.call("POST", path_of(source))
        assert status == 500 and "CERTIFICATE_VERIFY_FAILED" in answer["message"]
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "pem"))
        trusting = request.getfixturevalue("own_engine")
        assert asked(trusting, "POST", path_of(source))[1][-1]["status"].startswith("sha256:")
    finally:
        server.stop()


def test_many_imports_at_once_take_a_bounded_time(engine, web):
    since = time.monotonic()
    clients = [engine.begin("import", f"{web.address}/file/root.tar", f"many:{n}") for n in range(4)]

    assert [client.wait(30) for client in clients] == [0] * 4
    assert time.monotonic() - since < 30
    engine.ok("rmi", *(f"many:{n}" for n in range(4)))
