"""push, login, search and what is asked of a registry, by docker's CLI and docker-py, beside a real dockerd."""

import base64
import json
import os
import re
import subprocess
import sys

import pytest
from beside_dockerd import asked
from clients import assert_same, ok, ours
from daemon import DOCKER, wait_until
from images import Image, busybox_layer, entry, tar
from passwords import htpasswd

docker = pytest.importorskip("docker", reason="docker-py is not installed: tests/run installs it")

LOCKED = "127.0.0.1:5001"
SEARCHED = "127.0.0.1:5002"
SEARCH = """
import http.server, json
FOUND = [{"name": "busybox", "description": "Busy <b>", "is_official": True, "star_count": 10},
         {"name": "me/box", "is_automated": True, "star_count": 2, "description": ""}]
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        found = self.path.startswith("/v1/search?q=box&n=")
        known = found or self.path == "/v1/_ping"
        data = json.dumps({"results": FOUND}).encode() if found else b"true"
        self.send_response(200 if known else 404)
        self.send_header("Content-Length", str(len(data)))
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(data)
    def log_message(self, *_):
        pass
http.server.ThreadingHTTPServer(("127.0.0.1", 5002), Handler).serve_forever()
"""


@pytest.fixture(scope="module")
def registries(hub, tmp_path_factory):
    """Beside the hub, at 5000: a registry with a password at LOCKED, and one that can be searched at SEARCHED."""
    folder = tmp_path_factory.mktemp("locked")
    config = folder / "registry.yml"
    config.write_text(
        "version: 0.1\nlog: {level: error, accesslog: {disabled: true}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}}}\nhttp: {{addr: '{LOCKED}'}}\n{htpasswd(folder)}"
    )
    commands = [["docker-registry", "serve", config], [sys.executable, "-c", SEARCH]]
    servers = [subprocess.Popen([*hub.inside, *command], stderr=subprocess.DEVNULL) for command in commands]
    for host in (LOCKED, SEARCHED):
        probe = [*hub.inside, "bash", "-c", f"echo > /dev/tcp/{host.replace(':', '/')}"]
        wait_until(lambda probe=probe: subprocess.run(probe, stderr=subprocess.DEVNULL).returncode == 0, host)
    yield
    for server in servers:
        server.kill()
        server.wait()


def header(login):
    return base64.urlsafe_b64encode(json.dumps(login).encode()).decode()


RIGHT = {"username": "me", "password": "secret", "serveraddress": LOCKED}
WRONG = {**RIGHT, "password": "wrong"}


def pushed(daemon, name, tag="1", login=None):
    headers = {"X-Registry-Auth": header(login or {})}
    return asked(daemon, "POST", f"/images/{name}/push{f'?tag={tag}' if tag else ''}", headers=headers)


def shape(events):
    """Return the events without positions, digests and the order in which layers come."""
    found = []
    for event in events:
        if event.get("status") == "Pushing" or event.get("status") == "Waiting":
            continue
        text = re.sub(r"sha256:[0-9a-f]{64} size: \d+", "DIGEST", json.dumps(event, sort_keys=True))
        text = re.sub(r'"Digest": "[^"]*", "Size": \d+', "DIGEST", text)
        found.append(text)
    return sorted(found)


def same(engine, dockerd, name, tag="1", login=None):
    """Have both push, each under a name of its own; return our answer, whose shape is that of dockerd's."""
    answers = []
    for daemon, own in ((engine, f"{name}-ours"), (dockerd, f"{name}-theirs")):
        status, events = pushed(daemon, own, tag, login)
        answers.append((status, shape(events)))
        answers[-1] = json.loads(json.dumps(answers[-1]).replace(own, "NAME"))
    assert answers[0] == answers[1]
    return pushed(engine, f"{name}-ours", tag, login)


def tagged(engine, dockerd, name, *tags):
    for tag in tags:
        engine.ok("tag", "busybox", f"{name}-ours:{tag}")
        assert dockerd.docker("tag", "busybox", f"{name}-theirs:{tag}").returncode == 0


def skopeo(hub, *words):
    done = hub.run("skopeo", *words)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_push_is_told_as_dockerd_tells_it_and_arrives(engine, dockerd, hub):
    name = "127.0.0.1:5000/told/a"
    tagged(engine, dockerd, name, "1", "2")

    assert same(engine, dockerd, name)[0] == 200
    again = same(engine, dockerd, name)[1]  # everything is there
    assert {event.get("status") for event in again} >= {"Preparing", "Layer already exists"}
    same(engine, dockerd, name, tag="")  # all tags
    found = json.loads(skopeo(hub, "inspect", "--tls-verify=false", f"docker://{name}-ours:2"))
    assert sorted(found["RepoTags"]) == ["1", "2"]
    assert engine.inspect(f"{name}-ours:1", ".RepoDigests")[0].endswith(f"@{found['Digest']}") or found[
        "Digest"
    ] in str(engine.inspect(f"{name}-ours:1", ".RepoDigests"))


@pytest.mark.parametrize("name", ["127.0.0.1:5000/nosuch/image", "127.0.0.1:5000/told/b"])
def test_what_is_not_there_is_told_as_by_dockerd(engine, dockerd, name):
    if name.endswith("b"):
        tagged(engine, dockerd, name, "2")

    assert "error" in same(engine, dockerd, name)[1][-1]


@pytest.mark.parametrize(("login", "words"), [(None, "no basic auth credentials"), (WRONG, "unauthorized: ")])
def test_who_may_not_push_is_told_so_as_by_dockerd(engine, dockerd, registries, login, words):
    name = f"{LOCKED}/locked/a"
    tagged(engine, dockerd, name, "1")

    assert same(engine, dockerd, name, login=login)[1][-1]["error"].startswith(words)


def test_credentials_of_the_request_are_used(engine, dockerd, registries, hub):
    name = f"{LOCKED}/locked/b"
    tagged(engine, dockerd, name, "1")

    assert "aux" in same(engine, dockerd, name, login=RIGHT)[1][-1]
    skopeo(hub, "inspect", "--tls-verify=false", "--creds", "me:secret", f"docker://{name}-ours:1")


def test_a_server_that_is_no_registry_is_an_error_in_the_stream(engine, registries):
    engine.ok("tag", "busybox", f"{SEARCHED}/x:1")
    status, events = pushed(engine, f"{SEARCHED}/x")

    assert (status, events[0]["status"]) == (200, f"The push refers to repository [{SEARCHED}/x]")
    assert "501" in events[-1]["errorDetail"]["message"]
    engine.ok("rmi", f"{SEARCHED}/x:1")


def test_a_push_without_the_header_and_of_a_bad_name_is_refused(engine, dockerd):
    path = "/images/127.0.0.1:5000/told/a/push?tag=1"

    assert asked(engine, "POST", path) == asked(dockerd, "POST", path)
    assert pushed(engine, "UPPER")[0] == 400
    assert asked(engine, "POST", path, headers={"X-Registry-Auth": "%%%"})[0] == 400


def test_docker_s_client_pushes_and_logs_in_and_out(engine, registries, hub):
    name = f"{LOCKED}/cli/a:1"
    engine.ok("tag", "busybox", name)
    assert engine.fails("push", name)[1].strip().endswith("no basic auth credentials")
    status, errors = engine.fails("login", "-u", "me", "--password-stdin", LOCKED, input="wrong")
    assert "unauthorized" in errors
    assert engine.ok("login", "-u", "me", "--password-stdin", LOCKED, input="secret").endswith("Login Succeeded")
    shown = engine.ok("push", name)
    assert re.search(r"^1: digest: sha256:[0-9a-f]{64} size: \d+$", shown, re.MULTILINE)
    assert engine.ok("push", "-q", name) == name
    engine.ok("rmi", name)
    assert "Status: Downloaded newer image" in engine.ok("pull", name)
    engine.ok("logout", LOCKED)
    assert "image push" in engine.ok("events", "--since", "1h", "--until", "0s")


def test_an_image_that_was_built_is_pushed_compressed_and_keeps_its_id(engine, dockerd, hub):
    name = "127.0.0.1:5000/built:1"
    assert dockerd.docker("tag", "busybox", "127.0.0.1:5000/base:1").returncode == 0
    assert dockerd.docker("push", "127.0.0.1:5000/base:1").returncode == 0  # its manifest is docker's
    dockerfile = "FROM 127.0.0.1:5000/base:1\nRUN seq 1000000 >/numbers\nLABEL a=b\n"
    environment = {**os.environ, "DOCKER_BUILDKIT": "0"}
    command = [DOCKER, "-H", f"unix://{engine.socket}", "build", "-q", "-t", name, "-"]
    subprocess.run(command, input=dockerfile.encode(), env=environment, check=True, capture_output=True)
    before = engine.inspect(name, ".Id")
    engine.ok("push", name)
    manifest = json.loads(skopeo(hub, "inspect", "--raw", "--tls-verify=false", f"docker://{name}"))
    digest = json.loads(skopeo(hub, "inspect", "--tls-verify=false", f"docker://{name}"))["Digest"]

    assert {layer["mediaType"] for layer in manifest["layers"]} == {"application/vnd.oci.image.layer.v1.tar+gzip"}
    assert manifest["layers"][-1]["size"] < 3_000_000
    assert (engine.inspect(name, ".Id"), manifest["config"]["digest"]) == (before, before)
    assert engine.inspect(name, ".RepoDigests") == [f"127.0.0.1:5000/built@{digest}"]
    assert engine.ok("run", "--rm", "--network=none", name, "wc", "-l", "/numbers").split()[0] == "1000000"
    assert {one.get("status") for one in pushed(engine, "127.0.0.1:5000/built")[1]} >= {"Layer already exists"}
    engine.ok("rmi", name)
    assert engine.ok("run", "--rm", "--network=none", name, "wc", "-l", "/numbers").split()[0] == "1000000"
    engine.ok("rmi", name)
    assert dockerd.docker("pull", name).returncode == 0
    assert dockerd.docker("image", "inspect", "-f", "{{.Id}}", name).stdout.decode().strip() == before
    engine.ok("rmi", "127.0.0.1:5000/base:1")


def test_an_image_that_was_loaded_is_pushed_as_others_can_read_it(engine, dockerd, hub):
    name = "127.0.0.1:5000/loaded:1"
    assert dockerd.docker("tag", "busybox", name).returncode == 0
    engine.docker("load", input=dockerd.docker("save", name).stdout, text=False)
    engine.ok("push", name)

    skopeo(hub, "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"dir:{engine.directory}/loaded")


def test_docker_py_pushes_logs_in_and_searches(engine, registries):
    client = docker.DockerClient(base_url=f"unix://{engine.socket}", timeout=30)
    client.images.get("busybox").tag(f"{LOCKED}/py/a", "1")
    events = list(client.images.push(f"{LOCKED}/py/a", tag="1", auth_config=RIGHT, stream=True, decode=True))
    assert events[-1]["aux"]["Tag"] == "1"
    assert "no basic auth" in list(client.images.push(f"{LOCKED}/py/a", stream=True, decode=True))[-1]["error"]
    assert client.login("me", "secret", registry=LOCKED)["Status"] == "Login Succeeded"
    with pytest.raises(docker.errors.APIError) as caught:
        client.login("me", "wrong", registry=LOCKED, reauth=True)
    assert caught.value.status_code == 401
    assert [one["name"] for one in client.images.search(f"{SEARCHED}/box", limit=5)] == ["busybox", "me/box"]
    assert client.images.get_registry_data("127.0.0.1:5000/library/busybox").has_platform("linux/amd64")
    client.close()


@pytest.mark.parametrize(
    "body",
    [
        RIGHT,
        {**RIGHT, "serveraddress": f"http://{LOCKED}"},
        {"username": "me", "password": "any", "serveraddress": "127.0.0.1:5000"},
    ],
)
def test_a_login_succeeds_as_with_dockerd(engine, dockerd, registries, body):
    words = ("POST", "/auth", json.dumps(body).encode(), {"Content-Type": "application/json"})

    assert asked(engine, *words) == asked(dockerd, *words)


@pytest.mark.parametrize(
    ("body", "status"),
    [
        (WRONG, 401),
        ({"serveraddress": LOCKED}, 401),
        ({**RIGHT, "serveraddress": "127.0.0.1:1"}, 500),
        ({**RIGHT, "serveraddress": "a b"}, 400),
        ({**RIGHT, "password": 7}, 400),
        ({**RIGHT, "password": "a\r\nX: y"}, 401),
    ],
)
def test_a_login_that_fails_has_a_status_and_a_sentence(engine, registries, body, status):
    found, (answer,) = asked(engine, "POST", "/auth", json.dumps(body).encode())

    assert (found, bool(answer["message"])) == (status, True)


@pytest.mark.parametrize(
    "query",
    [
        f"term={SEARCHED}/box&limit=5",
        f"term={SEARCHED}/box&filters=" + '{"is-official":{"true":true}}',
        f"term={SEARCHED}/box&filters=" + '{"is-automated":["true"]}',
        f"term={SEARCHED}/box&filters=" + '{"stars":{"5":true}}',
        f"term={SEARCHED}/box&limit=1000",
    ],
)
def test_a_search_finds_what_dockerd_finds(engine, dockerd, registries, query):
    assert asked(engine, "GET", f"/images/search?{query}") == asked(dockerd, "GET", f"/images/search?{query}")


def test_a_search_that_fails_says_why(engine, registries):
    for term in ("127.0.0.1:5000/box", "busybox", "127.0.0.1:1/x"):  # no such API, no network, nobody
        status, (answer,) = asked(engine, "GET", f"/images/search?term={term}")
        assert (status, bool(answer["message"])) == (500, True)
    assert asked(engine, "GET", "/images/search?term=a&filters=" + '{"x":["1"]}')[0] == 400


def test_a_look_at_a_registry_s_image_agrees_with_dockerd(engine, dockerd):
    assert dockerd.docker("tag", "busybox", "127.0.0.1:5000/looked:1").returncode == 0
    assert dockerd.docker("push", "127.0.0.1:5000/looked:1").returncode == 0
    path = "/distribution/127.0.0.1:5000/looked:1/json"

    assert asked(engine, "GET", path) == asked(dockerd, "GET", path)
    assert asked(engine, "GET", path.replace(":1/", ":nosuch/"))[0] == 404


def test_our_client_does_what_docker_s_does(engine, registries):
    name = f"{LOCKED}/own/a"
    engine.ok("tag", "busybox", f"{name}:latest")
    engine.ok("tag", "busybox", f"{name}:2")
    assert_same(engine, "push", name)
    assert "no basic auth credentials" in ours(engine, "push", name).stderr
    assert "unauthorized" in ours(engine, "login", "-u", "me", "--password-stdin", LOCKED, input="wrong").stderr
    assert ok(engine, "login", "-u", "me", "--password-stdin", LOCKED, input="secret") == "Login Succeeded"

    assert "digest: sha256:" in ok(engine, "push", "-a", name)
    for words in ((name,), ("-a", name), ("-q", f"{name}:2"), (f"{name}:nosuch",)):
        theirs, own = engine.docker("push", *words), ours(engine, "push", *words)
        # Several layers are under way at a time.
        assert sorted(own.stdout.splitlines()) == sorted(theirs.stdout.splitlines())
        assert (own.returncode, own.stderr.removeprefix("pyrund: ")) == (theirs.returncode, theirs.stderr)
    for words in ((), ("--filter", "stars=5"), ("--format", "{{.Name}}: {{.StarCount}}"), ("--limit", "1000")):
        assert_same(engine, "search", *words, f"{SEARCHED}/box")
    assert ok(engine, "logout", LOCKED) == f"Removing login credentials for {LOCKED}"
    assert ok(engine, "logout", LOCKED) == f"Not logged in to {LOCKED}"


def test_a_push_that_is_cut_short_by_its_client_or_its_daemon_is_completed_by_the_next(own_engine, hub):
    engine, name = own_engine, "127.0.0.1:5000/killed:1"
    hub.push(Image(busybox_layer(), tar(entry("big", data=os.urandom(16 << 20))), compress=lambda data: data), "big:1")
    engine.ok("pull", "big:1")
    engine.ok("tag", "big:1", name)
    for end in (lambda client: client.kill(), lambda client: engine.kill()):
        client = engine.begin("push", name, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        assert b"The push refers" in client.stdout.readline()
        assert engine.call("GET", "/version")[0] == 200  # it delays nobody
        end(client)
        client.communicate()
    engine.start()

    assert "digest: sha256:" in engine.ok("push", name, timeout=120)
    skopeo(hub, "copy", "-q", "--src-tls-verify=false", f"docker://{name}", f"dir:{engine.directory}/copy")
