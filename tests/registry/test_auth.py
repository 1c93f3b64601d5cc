"""Tokens, passwords, credential files and helpers; and who is sent what."""

import base64
import json
import os
import stat
import subprocess
import time

import pytest
from conftest import push, serve_docker_registry
from hypothesis import given, settings
from hypothesis import strategies as st
from images import Image, tar
from misbehaving import Registry, Server
from passwords import htpasswd

from foundation.linux.os import environment
from pyfetch.registry.auth import _words
from pyfetch.registry.credentials import find_credentials


def basic(user, password):
    return "Basic " + base64.b64encode(f"{user}:{password}".encode()).decode()


class TokenServer(Server):
    """Gives tokens t1, t2, ...; with `login` only to those who send it."""

    def __init__(self, login=None, refresh_token=None, field="token"):
        super().__init__()
        self.login = login
        self.refresh_token = refresh_token
        self.given = 0
        self.field = field

    def answer(self, handler):
        if handler.command == "POST":
            if self.refresh_token is None:
                return handler.reply(404)
            right = f"refresh_token={self.refresh_token}".encode() in handler.body
        else:
            right = self.login is None or handler.headers.get("Authorization") == self.login
        if not right:
            return handler.reply(401, b"{}")
        self.given += 1
        handler.reply(200, json.dumps({self.field: f"t{self.given}"}).encode())


@pytest.fixture
def tokens(registry):
    """Make `registry` ask for tokens of the server that this returns."""
    server = TokenServer()
    registry.valid = lambda: f"Bearer t{server.given}"
    registry.challenge = (
        f'Bearer realm="http://{server.host}/token",service="reg, \\"x\\"",scope="repository:test:pull"'
    )

    def before(handler):
        if handler.path == "/v2/" or handler.headers.get("Authorization") == registry.valid():
            return False
        handler.reply(401, b"{}", WWW_Authenticate=registry.challenge)
        return True

    registry.before = before
    yield server
    server.close()


def write_config(pyfetch, document, path=".docker/config.json"):
    file = pyfetch.home / path
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(document))


def helper(pyfetch, name, script):
    folder = pyfetch.folder / "bin"
    folder.mkdir(exist_ok=True)
    file = folder / f"docker-credential-{name}"
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    pyfetch.environment["PATH"] = f"{folder}:{os.environ['PATH']}"


def test_an_anonymous_token_serves_all_layers(pyfetch, registry, tokens):
    pyfetch.ok(registry.add(Image(*(tar(f"f{n}") for n in range(6)))))

    assert tokens.given == 1
    assert tokens.requests[0].headers.get("authorization") is None
    assert "scope=repository%3Atest%3Apull" in tokens.requests[0].path


def test_the_other_name_of_a_token_is_known(pyfetch, registry, tokens):
    tokens.field = "access_token"

    assert pyfetch.ok(registry.add(Image(tar("x"))))


def test_a_token_that_expires_is_replaced(pyfetch, registry, tokens):
    image = Image(tar("x"))
    before = registry.before
    expired = []

    def expire(handler):
        if "/blobs/" in handler.path and not expired:
            expired.append(True)
            handler.reply(401, b"{}", WWW_Authenticate=registry.challenge)
            return True
        return before(handler)

    registry.before = expire
    pyfetch.ok(registry.add(image))

    assert tokens.given == 2


def test_several_challenges_are_read_and_bearer_is_preferred(pyfetch, registry, tokens):
    registry.challenge = ["Negotiate", f'Basic realm="x", {registry.challenge}']

    assert pyfetch.ok(registry.add(Image(tar("x"))))


@pytest.mark.parametrize(
    "text", [" " * 60_000, 'a="' * 20_000, 'a="' + "\\a" * 30_000, "a " * 30_000, "=" * 60_000, "a" + " " * 60_000]
)
def test_a_huge_challenge_takes_no_time(pyfetch, registry, text):
    registry.before = lambda h: (h.reply(401, b"{}", WWW_Authenticate=["x" + text + "\x7f"] * 20), True)[1]
    began = time.monotonic()
    status, _ = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "0")

    assert status == 4
    assert time.monotonic() - began < 10


@settings(max_examples=500, deadline=None)
@given(st.lists(st.tuples(st.text("abcZ-", min_size=1), st.none() | st.text('ab "\\,= é')), min_size=1))
def test_a_challenge_says_what_was_written_into_it(words):
    def quoted(text):
        return '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'

    value = ", ".join(name if text is None else f"{name} = {quoted(text)}" for name, text in words)

    assert list(_words(value)) == words


def test_a_login_is_sent_to_the_token_server_only(pyfetch, registry, tokens):
    tokens.login = basic("me", "secret")
    name = registry.add(Image(tar("x")))
    pyfetch.ok(name, "--username", "me", "--password-stdin", input="secret\n")

    assert tokens.login not in registry.authorizations()
    assert set(registry.authorizations()) == {None, "Bearer t1"}


def test_without_a_login_the_error_says_what_docker_says(pyfetch, registry, tokens):
    tokens.login = basic("me", "secret")
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert status == 4
    assert "no token" in error


@pytest.mark.parametrize("status", [401, 403, 404])
@pytest.mark.parametrize("kind", ["Basic", "Bearer"])
def test_a_registry_that_asks_who_we_are_at_its_base_only_is_told(pyfetch, registry, tokens, status, kind):
    """Nexus and GitHub: a stranger is not told that what he asks for is there."""
    login = basic("me", "secret")
    tokens.login = login
    challenge = 'Basic realm="x"' if kind == "Basic" else f'Bearer realm="http://{tokens.host}/token",service="x"'
    write_config(pyfetch, {"auths": {registry.host: {"auth": login[6:]}}})

    def before(handler):
        if handler.headers.get("Authorization") == (login if kind == "Basic" else f"Bearer t{tokens.given}"):
            return False
        if handler.path == "/v2/":
            handler.reply(401, b"{}", WWW_Authenticate=challenge)
        else:
            handler.reply(status, b"{}")
        return True

    registry.before = before
    hosts = pyfetch.home / ".config/containerd/certs.d" / registry.host / "hosts.toml"
    hosts.parent.mkdir(parents=True)
    hosts.write_text(f'server = "http://{registry.host}"\n')

    assert pyfetch.ok(registry.add(Image(tar("x"))))
    assert all("scope=repository%3Atest%3Apull" in r.path for r in tokens.requests)


@pytest.mark.parametrize(("status", "expected"), [(401, 4), (403, 4), (404, 3)])
def test_a_stranger_does_not_ask_at_the_base(pyfetch, registry, status, expected):
    registry.before = lambda h: h.path != "/v2/" and (h.reply(status, b"{}"), True)[1]

    assert pyfetch.fails(registry.add(Image(tar("x"))))[0] == expected
    assert registry.count("GET", "/v2/") - registry.count("GET", "/manifests/") == 1  # is there TLS?


def test_a_token_that_is_not_enough_is_access_denied(pyfetch, registry, tokens):
    registry.valid = lambda: "nothing"
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert status == 4
    assert "repository does not exist or may require 'docker login'" in error
    assert tokens.given == 2


def test_an_identity_token_is_exchanged(pyfetch, registry, tokens):
    tokens.refresh_token = "r1"
    write_config(pyfetch, {"auths": {registry.host: {"auth": basic("u", "p")[6:], "identitytoken": "r1"}}})
    pyfetch.ok(registry.add(Image(tar("x"))))

    assert [r.method for r in tokens.requests] == ["POST"]


LOCATIONS = [".docker/config.json", ".config/containers/auth.json", "run/containers/auth.json"]


@pytest.mark.parametrize("path", LOCATIONS)
@pytest.mark.parametrize("key", ["{host}", "https://{host}/v2/", "{host}/test", "http://{host}"])
def test_credential_files_are_found_by_any_of_their_keys(pyfetch, registry, tokens, path, key):
    tokens.login = basic("me", "se:cret")
    other = {"auth": basic("other", "x")[6:]}
    auths = {key.format(host=registry.host): {"auth": tokens.login[6:]}, f"{registry.host}/else": other}
    write_config(pyfetch, {"auths": auths}, path)

    assert pyfetch.ok(registry.add(Image(tar("x"))))


def test_credentials_may_come_in_the_environment_or_in_a_named_file(pyfetch, registry, tokens):
    tokens.login = basic("me", "secret")
    document = {"auths": {registry.host: {"auth": tokens.login[6:]}}}
    name = registry.add(Image(tar("x")))
    write_config(pyfetch, document, "mine.json")

    assert pyfetch.ok(name, env={"DOCKER_AUTH_CONFIG": json.dumps(document)})
    assert pyfetch.ok(name, "--authfile", pyfetch.home / "mine.json")
    assert pyfetch.ok(name, env={"REGISTRY_AUTH_FILE": str(pyfetch.home / "mine.json")})


@pytest.mark.parametrize("data", ["", " \n"])
def test_an_empty_file_holds_no_credentials(pyfetch, registry, tokens, data):
    name = registry.add(Image(tar("x")))
    (pyfetch.home / ".docker").mkdir()
    (pyfetch.home / ".docker/config.json").write_text(data)

    assert pyfetch.ok(name)
    assert pyfetch.ok(name, "--authfile", pyfetch.home / ".docker/config.json", env={"DOCKER_AUTH_CONFIG": data or " "})


def test_an_empty_entry_hides_no_other(pyfetch, registry, tokens):
    tokens.login = basic("me", "secret")
    auths = {f"https://{registry.host}/v2/": {"auth": tokens.login[6:]}, f"http://{registry.host}": {}}
    write_config(pyfetch, {"auths": auths})

    assert pyfetch.ok(registry.add(Image(tar("x"))))


HUB = [
    "https://index.docker.io/v1/",
    "index.docker.io",
    "https://registry-1.docker.io/v2/",
    "docker.io",
    "docker.io/library",
]


@pytest.mark.parametrize(
    ("setting", "key"),
    [
        *(("auths", key) for key in [*HUB, "https://index.docker.io/library/test"]),
        *(("credHelpers", key) for key in HUB[:4]),
    ],
)
def test_docker_hubs_credentials_are_found_under_all_of_its_names(pyfetch, monkeypatch, setting, key):
    helper(pyfetch, "test", 'read key; echo "$key" >$0.key; echo \'{"Username":"me","Secret":"secret"}\'')
    entry = {"auth": basic("me", "secret")[6:]} if setting == "auths" else "test"
    write_config(pyfetch, {setting: {"other.example": entry, "docker.io/other": entry, key: entry}})
    for name in ("HOME", "PATH", "XDG_RUNTIME_DIR"):
        monkeypatch.setenv(name, pyfetch.environment[name])  # for the helper
        monkeypatch.setitem(environment, name, pyfetch.environment[name])

    assert find_credentials("docker.io", "library/test", "").basic() == basic("me", "secret")
    assert find_credentials("ghcr.io", "library/test", "") is None
    if setting == "credHelpers":
        key = (pyfetch.folder / "bin/docker-credential-test.key").read_text()
        assert key.strip() == "https://index.docker.io/v1/"


@pytest.mark.parametrize("setting", ["credHelpers", "credsStore"])
def test_a_helper_is_asked(pyfetch, registry, tokens, setting):
    tokens.login = basic("me", "secret")
    helper(pyfetch, "test", f'read key; [ "$key" = {registry.host} ] && echo \'{{"Username":"me","Secret":"secret"}}\'')
    write_config(pyfetch, {setting: {registry.host: "test"} if setting == "credHelpers" else "test"})

    assert pyfetch.ok(registry.add(Image(tar("x"))))


def test_a_helper_that_knows_nothing_means_anonymous(pyfetch, registry, tokens):
    helper(pyfetch, "test", "echo credentials not found in native keychain; exit 1")
    write_config(pyfetch, {"credsStore": "test"})

    assert pyfetch.ok(registry.add(Image(tar("x"))))


@pytest.mark.parametrize("script", ["echo broken; exit 1", "echo not json", "yes"])
def test_a_helper_that_fails_is_an_error_and_nobody_else_is_asked(pyfetch, registry, tokens, script):
    helper(pyfetch, "test", script)
    document = {"credHelpers": {registry.host: "test"}, "auths": {registry.host: {"auth": basic("a", "b")[6:]}}}
    write_config(pyfetch, document)
    status, _ = pyfetch.fails(registry.add(Image(tar("x"))))

    assert status in (4, 6)
    assert tokens.requests == []


@pytest.mark.parametrize("name", ["../x", "a b", ";id", "missing"])
def test_a_helpers_name_must_be_a_programs(pyfetch, registry, tokens, name):
    write_config(pyfetch, {"credHelpers": {registry.host: name}})

    assert pyfetch.fails(registry.add(Image(tar("x"))))[0] == 4


@pytest.mark.parametrize(
    "auth", ["!!", "\xe9", base64.b64encode(b"no colon").decode(), base64.b64encode(b"a:b\r\nX: y").decode()]
)
def test_damaged_credentials_are_an_error(pyfetch, registry, tokens, auth):
    write_config(pyfetch, {"auths": {registry.host: {"auth": auth}}})

    assert pyfetch.fails(registry.add(Image(tar("x"))))[0] in (4, 6)
    assert tokens.requests == []


@pytest.mark.parametrize("document", [{"registrytoken": "\xe9"}, {"identitytoken": 1}, {"auth": {}}, [], "x"])
def test_credentials_that_cannot_be_sent_are_an_error(pyfetch, registry, tokens, document):
    write_config(pyfetch, {"auths": {registry.host: document}})

    assert pyfetch.fails(registry.add(Image(tar("x"))))[0] in (4, 6)


def test_a_password_may_be_any_bytes(pyfetch, registry, tokens):
    login = b"m\xe9:s\xe9cret"
    tokens.login = "Basic " + base64.b64encode(login).decode()
    name = registry.add(Image(tar("x")))
    write_config(pyfetch, {"auths": {registry.host: {"auth": tokens.login[6:]}}})

    assert pyfetch.ok(name)
    (pyfetch.home / ".docker/config.json").unlink()
    done = pyfetch.run(name, "--username", "m\udce9", "--password-stdin", input=b"s\xe9cret\r\n", text=False)
    assert done.returncode == 0, done.stderr


def test_the_environment_may_hold_any_bytes(pyfetch, registry, tokens):
    env = {"DOCKER_AUTH_CONFIG": "{\udce9}"}

    assert "DOCKER_AUTH_CONFIG: not UTF-8 at byte 1" in pyfetch.fails(registry.add(Image(tar("x"))), env=env)[1]


@pytest.mark.parametrize(
    "realm",
    [
        "file:///etc/passwd",
        "ftp://127.0.0.1/",
        "http://user:password@127.0.0.1/",
        "http://169.254.169.254/token",
        "http://0.0.0.0/token",
        "http://[::]/token",
        "http://127.0.0.1:99999/",
        "http://[::1/token",
        "http://[1:2:3:4]/token",
        "http://a..b/token",
        f"http://{'a' * 64}/token",
        "",
    ],
)
def test_a_hostile_realm_is_refused(pyfetch, registry, tokens, realm):
    registry.challenge = f'Bearer realm="{realm}",service="x"'
    write_config(pyfetch, {"auths": {registry.host: {"auth": basic("me", "secret")[6:]}}})
    status, _ = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "0")

    assert status in (4, 5, 6)


@pytest.mark.parametrize("body", [b"{}", b"[]", b"x", b'{"token":"a\\r\\nX: y"}', b'{"token":7}', b"[" * 100_000])
def test_a_useless_token_is_an_error(pyfetch, registry, tokens, body):
    tokens.answer = lambda handler: handler.reply(200, body)

    assert pyfetch.fails(registry.add(Image(tar("x"))))[0] == 6


def test_a_huge_token_is_an_error(pyfetch, registry, tokens):
    tokens.answer = lambda handler: handler.reply(200, b'{"token":"' + b"a" * (10 << 20) + b'"}')

    assert pyfetch.fails(registry.add(Image(tar("x"))))[0] == 6


@pytest.mark.parametrize("status", [301, 302, 307, 308])
def test_a_token_servers_redirect_within_its_host_is_followed_with_the_login(pyfetch, registry, tokens, status):
    tokens.login = basic("me", "secret")
    give = tokens.answer
    tokens.answer = lambda h: h.reply(status, Location=f"/moved?{h.path}") if "/moved" not in h.path else give(h)
    write_config(pyfetch, {"auths": {registry.host: {"auth": tokens.login[6:]}}})

    assert pyfetch.ok(registry.add(Image(tar("x"))))
    assert "/moved" in tokens.requests[-1].path


def test_a_token_servers_redirect_elsewhere_is_followed_without_the_login(pyfetch, registry, tokens):
    other = TokenServer()
    registry.valid = lambda: f"Bearer t{other.given}"
    tokens.answer = lambda handler: handler.reply(307, Location=f"http://{other.host}/")
    write_config(pyfetch, {"auths": {registry.host: {"auth": basic("me", "secret")[6:]}}})
    done = pyfetch.run(registry.add(Image(tar("x"))))
    other.close()

    assert done.returncode == 0, done.stderr
    assert other.authorizations() == [None]


def test_an_identity_token_is_sent_to_nobody_else(pyfetch, registry, tokens):
    other = Server()
    tokens.answer = lambda handler: handler.reply(307, Location=f"http://{other.host}/")
    write_config(pyfetch, {"auths": {registry.host: {"auth": basic("u", "p")[6:], "identitytoken": "r1"}}})
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))
    other.close()

    assert (status, other.requests) == (4, [])
    assert "identity token" in error


def test_basic_authentication_of_docker_registry(pyfetch, tmp_path):
    (tmp_path / "registry").mkdir()
    more = htpasswd(tmp_path / "registry")
    server = serve_docker_registry(tmp_path / "registry", more)
    host = next(server)
    try:
        name = push(Image(tar("x")), tmp_path / "layout", f"{host}/x:1", "--dest-creds", "me:secret")
        login = ("--username", "me", "--password-stdin")

        assert pyfetch.fails(name)[0] == 4
        assert pyfetch.fails(name, *login, input="wrong\n")[0] == 4
        assert pyfetch.ok(name, *login, input="secret\n")
    finally:
        server.close()


def test_a_redirect_elsewhere_gets_no_credentials_but_the_range(pyfetch, registry, tokens):
    image = Image(tar("x"), compress=lambda data: data)
    layer = image.manifest["layers"][0]["digest"]
    other = Registry()
    other.blobs = image.blobs
    other.cut = {layer: [1000]}
    before = registry.before

    def redirect(handler):
        if before(handler):
            return True
        if "/blobs/" not in handler.path:
            return False
        handler.reply(307, Location=f"http://{other.host}{handler.path}")
        return True

    registry.before = redirect
    pyfetch.ok(registry.add(image))
    other.close()

    assert other.authorizations() == [None] * 3
    assert [r.headers.get("range") for r in other.requests if layer in r.path] == [None, "bytes=1000-"]


def test_an_expired_address_is_asked_for_again(pyfetch, registry):
    image = Image(tar("x"))
    other = Server()
    expired = set()

    def serve(handler):
        if handler.path not in expired:
            expired.add(handler.path)
            return handler.reply(403, b"<Error>Request has expired</Error>")
        handler.reply(200, image.blobs[handler.path.rpartition("/")[2]])

    other.answer = serve
    registry.before = lambda h: "/blobs/" in h.path and (h.reply(307, Location=f"http://{other.host}{h.path}"), True)[1]
    done = pyfetch.run(registry.add(image))
    other.close()

    assert done.returncode == 0, done.stderr


def test_a_challenge_of_the_redirects_target_gets_nothing(pyfetch, registry, tokens):
    other = Server()
    other.answer = lambda h: h.reply(401, WWW_Authenticate=f'Bearer realm="http://{other.host}/token"')
    before = registry.before
    registry.before = lambda h: (
        before(h) or ("/blobs/" in h.path and (h.reply(307, Location=f"http://{other.host}{h.path}"), True)[1])
    )
    pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "1")
    other.close()

    assert set(other.authorizations()) == {None}
    assert not any("token" in r.path for r in other.requests)


@pytest.mark.parametrize(
    "location",
    [
        "http://169.254.169.254/x",
        "http://0.0.0.0/x",
        "http://[fe80::1]/x",
        "file:///etc/passwd",
        "gopher://x/",
        "http://a b/",
        "http://[::1/x",
        "http://[1:2:3:4]/x",
        "http://a..b/x",
        f"http://{'a' * 64}/x",
    ],
)
def test_a_hostile_redirect_is_refused(pyfetch, registry, location):
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(307, Location=location), True)[1]
    status, _ = pyfetch.fails(registry.add(Image(tar("x"))), "--retries", "0")

    assert status == 6


def test_redirects_in_a_circle_end(pyfetch, registry):
    registry.before = lambda h: "/manifests/" in h.path and (h.reply(307, Location=h.path), True)[1]
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert status == 6
    assert "redirects" in error


def test_the_store_keeps_no_secrets(pyfetch, registry, tokens):
    tokens.login = basic("me", "s3cr3t-s3cr3t")
    pyfetch.ok(registry.add(Image(tar("x"))), "--username", "me", "--password-stdin", input="s3cr3t-s3cr3t\n")
    found = subprocess.run(["grep", "-rl", "s3cr3t", str(pyfetch.store)], capture_output=True).stdout

    assert found == b""
    assert stat.S_IMODE(os.stat(pyfetch.store).st_mode) == 0o700
