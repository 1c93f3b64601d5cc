"""Mirrors, proxies and certificates, as the administrator has set them up for other tools."""

import base64
import json
import os
import socket
import ssl
import subprocess
import threading

import pytest
from conftest import over_etc, push, serve_docker_registry
from images import Image, entry, tar
from misbehaving import Receiver, Registry, Server


@pytest.fixture
def mirror():
    server = Registry()
    yield server
    server.close()


def registries_conf(pyfetch, text):
    file = pyfetch.home / ".config/containers/registries.conf"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def hosts_toml(pyfetch, host, text):
    file = pyfetch.home / ".config/containerd/certs.d" / host / "hosts.toml"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def with_mirror(pyfetch, registry, mirror, more=""):
    registries_conf(
        pyfetch,
        f'# a comment\nunqualified-search-registries = ["a", "b"]\n[[registry]]\nlocation = "{registry.host}"\n'
        f'[[registry.mirror]]\nlocation = "{mirror.host}/mirrored"\n{more}\n',
    )


def test_a_mirror_is_asked_first(pyfetch, registry, mirror):
    image = Image(tar("x"))
    mirror.add(image)
    with_mirror(pyfetch, registry, mirror)
    mirror.before = lambda h: setattr(h, "path", h.path.replace("/mirrored/test", "/test")) and False

    assert pyfetch.ok(registry.add(image))
    assert registry.requests == []
    assert any("/v2/mirrored/test/" in r.path for r in mirror.requests)


@pytest.mark.parametrize("answer", [404, 401, 500, 503, 416])
def test_a_mirror_that_fails_is_passed_over(pyfetch, registry, mirror, answer):
    with_mirror(pyfetch, registry, mirror)
    mirror.before = lambda h: (h.reply(answer, b"{}"), True)[1]

    assert pyfetch.ok(registry.add(Image(tar("x"))))


def test_a_mirror_that_is_not_there_is_passed_over(pyfetch, registry, mirror):
    with_mirror(pyfetch, registry, mirror)
    mirror.close()

    assert pyfetch.ok(registry.add(Image(tar("x"))))


def test_wrong_content_of_a_mirror_is_replaced_by_the_registrys(pyfetch, registry, mirror):
    image = Image(tar("right"))
    mirror.add(image)
    digest = image.manifest["layers"][0]["digest"]
    mirror.blobs[digest] = bytes(len(image.blobs[digest]))
    hosts_toml(pyfetch, registry.host, f'server = "http://{registry.host}"\n[host."http://{mirror.host}"]\n')

    assert os.listdir(pyfetch.copy(registry.add(image))) == ["right"]
    assert mirror.count("GET", digest) == 1


def test_a_mirror_for_digests_is_not_asked_for_tags(pyfetch, registry, mirror):
    with_mirror(pyfetch, registry, mirror, 'pull-from-mirror = "digest-only"')
    pyfetch.ok(registry.add(Image(tar("x"))))

    assert mirror.requests == []


def test_hosts_toml_is_understood(pyfetch, registry, mirror):
    image = Image(tar("x"))
    mirror.add(image)
    hosts_toml(
        pyfetch,
        registry.host,
        f'server = "http://{registry.host}"\n\n[host."http://{mirror.host}"]\n  capabilities = ["pull", "resolve"]\n'
        '  [host."http://%s".header]\n    X-Mirror = ["yes"]\n' % mirror.host,
    )
    pyfetch.ok(registry.add(image))

    assert registry.requests == []
    assert {r.headers.get("x-mirror") for r in mirror.requests} == {"yes"}
    assert all(f"ns={registry.host}" in r.path for r in mirror.requests)


def test_hosts_toml_of_the_default_is_for_every_other_registry(pyfetch, registry, mirror):
    hosts_toml(pyfetch, "_default", f'[host."http://{mirror.host}"]\n')
    mirror.add(Image(tar("x")))

    assert pyfetch.ok("registry.invalid/test:1")
    assert any("ns=registry.invalid" in r.path for r in mirror.requests)


@pytest.mark.needs("root")
def test_dockers_mirrors_are_for_docker_hub(pyfetch, mirror):
    daemon_json(pyfetch, {"registry-mirrors": [f"http://{mirror.host}"]})
    over_etc(pyfetch)
    mirror.before = lambda h: setattr(h, "path", h.path.replace("/library/test", "/test")) and False
    mirror.add(Image(tar("x")))

    assert pyfetch.ok("test:1")
    assert any("/v2/library/test/" in r.path for r in mirror.requests)


def test_a_mirror_gets_its_own_credentials_only(pyfetch, registry, mirror):
    secret = base64.b64encode(b"me:secret").decode()
    (pyfetch.home / ".docker").mkdir()
    (pyfetch.home / ".docker/config.json").write_text(json.dumps({"auths": {registry.host: {"auth": secret}}}))
    with_mirror(pyfetch, registry, mirror)
    mirror.before = lambda h: (h.reply(401, WWW_Authenticate='Basic realm="x"'), True)[1]
    pyfetch.ok(registry.add(Image(tar("x"))))

    assert set(mirror.authorizations()) == {None}


def test_a_blocked_registry_is_refused(pyfetch, registry):
    registries_conf(pyfetch, f'[[registry]]\nprefix = "{registry.host}/test"\nblocked = true\n')
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert status == 2
    assert "blocked" in error


def test_a_name_can_be_moved_to_another_registry(pyfetch, registry):
    registry.add(Image(tar("x")))
    registries_conf(
        pyfetch, f'[[registry]]\nprefix = "example.com/foo"\nlocation = "{registry.host}"\ninsecure = true\n'
    )

    assert pyfetch.ok("example.com/foo/test:1")


def test_a_damaged_configuration_is_an_error_that_names_the_line(pyfetch, registry):
    registries_conf(pyfetch, "\n[[registry]]\nlocation = nonsense\n")
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert status == 2
    assert "line 3" in error


WRONG_REGISTRIES = {
    "registry[0].prefix": "[[registry]]\nprefix = 1\n",
    "registry[0].location": '[[registry]]\nlocation = ["x"]\n',
    "registry[0].blocked": '[[registry]]\nlocation = "{host}"\nblocked = "true"\n',
    "registry[0].insecure": '[[registry]]\nlocation = "{host}"\ninsecure = "false"\n',
    "registry[0].mirror": '[[registry]]\nlocation = "{host}"\nmirror = "x"\n',
    "registry[0].mirror[0].insecure": '[[registry]]\nlocation = "{host}"\n[[registry.mirror]]\ninsecure = 1\n',
    "registry[0].mirror[0].pull-from-mirror": (
        '[[registry]]\nlocation = "{host}"\n[[registry.mirror]]\npull-from-mirror = "some"\n'
    ),
    "registry: expected array": 'registry = "x"\n',
    "registries.block": '[registries.block]\nregistries = ["{host}"]\n',
}


@pytest.mark.parametrize("named", WRONG_REGISTRIES)
def test_a_wrong_value_in_registries_conf_is_refused_by_name(pyfetch, registry, named):
    registries_conf(pyfetch, WRONG_REGISTRIES[named].replace("{host}", registry.host))
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert (status, registry.requests) == (2, [])
    assert f"registries.conf: {named}" in error


WRONG_HOSTS = {
    "host: expected object": 'host = "a"',
    "host.https://x: expected object": '[host]\n"https://x" = 1',
    "server: expected string": "server = 1",
    "skip_verify: expected bool": 'skip_verify = "false"',
    "override_path: expected bool": "override_path = 1",
    "capabilities: expected array": 'capabilities = "pull"',
    "capabilities[0]: expected string": "capabilities = [1]",
    "ca[0]: expected string": "ca = 1",
    "client[0][0]: expected string": "client = [[1]]",
    "client[0]: expected a certificate and its key": 'client = [["a", "b", "c"]]',
    "header: expected object": 'header = "x"',
    "header.X[0]: expected string": "[header]\nX = 1",
    "header.X Y: cannot be sent": '[header]\n"X Y" = "1"',
    "header.X: cannot be sent": '[header]\nX = "a\\r\\nY: b"',
}


@pytest.mark.parametrize("named", WRONG_HOSTS)
def test_a_wrong_value_in_hosts_toml_is_refused_by_name(pyfetch, registry, named):
    hosts_toml(pyfetch, registry.host, WRONG_HOSTS[named])
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert (status, registry.requests) == (2, [])
    assert f"hosts.toml: {named}" in error


def test_a_configuration_that_is_not_utf8_is_refused_by_name(pyfetch, registry):
    registries_conf(pyfetch, "")
    (pyfetch.home / ".config/containers/registries.conf").write_bytes(b"# \xe9\n")
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert (status, "registries.conf: line 1: not UTF-8" in error) == (2, True)


def test_a_configuration_that_is_too_large_is_not_read_in_part(pyfetch, registry):
    registries_conf(pyfetch, "#" * (4 << 20) + f'\n[[registry]]\nlocation = "{registry.host}"\nblocked = true\n')
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert (status, registry.requests) == (2, [])
    assert "registries.conf: larger than" in error


@pytest.mark.parametrize("folder", ["{host}_{port}_", "{host}:{port}"])
def test_containerds_names_of_folders_are_known(pyfetch, registry, mirror, folder):
    mirror.add(Image(tar("x")))
    host, _, port = registry.host.partition(":")
    hosts_toml(pyfetch, folder.format(host=host, port=port), f'[host."http://{mirror.host}"]\n')

    assert pyfetch.ok(f"{registry.host}/test:1")
    assert registry.requests == []


def test_a_server_without_capabilities_is_asked_all_the_same(pyfetch, registry):
    image = Image(tar("x"))
    name = registry.add(image).rpartition(":")[0]
    hosts_toml(pyfetch, registry.host, f'server = "http://{registry.host}"\ncapabilities = ["resolve"]\n')

    assert pyfetch.ok(f"{name}@{image.digest}")
    assert pyfetch.ok(f"{name}:1")


def daemon_json(pyfetch, document):
    folder = pyfetch.folder / "etc/docker"
    folder.mkdir(parents=True)
    (folder / "daemon.json").write_text(json.dumps(document))


@pytest.mark.needs("root")
@pytest.mark.parametrize("document", [[], {"registry-mirrors": "x"}, {"insecure-registries": [1]}])
def test_a_wrong_value_in_daemon_json_is_refused_by_name(pyfetch, registry, document):
    daemon_json(pyfetch, document)
    over_etc(pyfetch)
    status, error = pyfetch.fails(registry.add(Image(tar("x"))))

    assert (status, "/etc/docker/daemon.json: " in error) == (2, True)


@pytest.mark.needs("root")
@pytest.mark.parametrize("place", ["registry.example:{port}", "http://registry.example:{port}", "127.0.0.0/8"])
def test_dockers_insecure_registries_are_honoured(pyfetch, registry, place):
    daemon_json(pyfetch, {"insecure-registries": ["nonsense/99", place.format(port=registry.port)]})
    (pyfetch.folder / "etc/hosts").write_text("127.0.0.1 registry.example\n")
    over_etc(pyfetch)
    registry.add(Image(tar("x")))

    assert pyfetch.ok(f"registry.example:{registry.port}/test:1")


@pytest.mark.needs("root")
def test_a_registry_without_tls_is_told_with_the_way_out(pyfetch, registry):
    (pyfetch.folder / "etc").mkdir()
    (pyfetch.folder / "etc/hosts").write_text("127.0.0.1 registry.example\n")
    over_etc(pyfetch)
    registry.add(Image(tar("x")))
    status, error = pyfetch.fails(f"registry.example:{registry.port}/test:1")

    assert (status, len(registry.requests)) == (5, 0)
    assert "server gave HTTP response to HTTPS client" in error and "--insecure" in error


# Proxies.


class Proxy(Server):
    """Forwards by CONNECT, or by absolute URLs, to one place, whatever the request says."""

    def __init__(self, port):
        super().__init__()
        self._to = port

    def answer(self, handler):
        upstream = socket.create_connection(("127.0.0.1", self._to))
        if handler.command == "CONNECT":
            handler.wfile.write(b"HTTP/1.1 200 Connection established\r\n\r\n")
        else:
            path = "/" + handler.path.partition("://")[2].partition("/")[2]
            upstream.sendall(f"{handler.command} {path} HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".encode())
        thread = threading.Thread(target=_copy, args=(upstream, handler.connection))
        thread.start()
        if handler.command == "CONNECT":
            _copy(handler.connection, upstream)
        thread.join()
        handler.close_connection = True


def _copy(source, target):
    try:
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)
    except OSError:
        pass  # the other end has gone


@pytest.fixture
def proxy(registry):
    server = Proxy(registry.port)
    yield server
    server.close()


def test_a_proxy_is_used_and_gets_its_credentials(pyfetch, registry, proxy):
    registry.add(Image(tar("x")))
    env = {"HTTP_PROXY": f"http://user:p%40ss@{proxy.host}"}
    pyfetch.ok("registry.invalid:80/test:1", "--insecure", env=env)

    expected = "Basic " + base64.b64encode(b"user:p@ss").decode()
    assert {r.headers.get("proxy-authorization") for r in proxy.requests} == {expected}
    assert all("proxy-authorization" not in r.headers for r in registry.requests)


@pytest.mark.parametrize("no_proxy", ["*", "registry.invalid", ".invalid", "invalid", "registry.invalid:80"])
def test_no_proxy_is_obeyed(pyfetch, proxy, no_proxy):
    env = {"http_proxy": f"http://{proxy.host}", "NO_PROXY": f"other, {no_proxy}"}
    pyfetch.fails("registry.invalid:80/test:1", "--insecure", "--retries", "0", env=env)

    assert proxy.requests == []


def test_loopback_never_goes_through_a_proxy(pyfetch, registry, proxy):
    assert pyfetch.ok(registry.add(Image(tar("x"))), env={"ALL_PROXY": f"http://{proxy.host}"})
    assert proxy.requests == []


def test_a_proxy_of_another_kind_is_refused(pyfetch, registry):
    status, error = pyfetch.fails("registry.invalid/x", env={"HTTPS_PROXY": "socks5://user:secret@127.0.0.1:1"})

    assert status == 2
    assert "only proxies by http://" in error and "secret" not in error


def test_a_socks_proxy_for_everything_else_is_no_obstacle(pyfetch, registry):
    hosts_toml(pyfetch, "registry.invalid", f'server = "http://{registry.host}"\n')
    registry.add(Image(tar("x")))

    assert pyfetch.ok("registry.invalid/test:1", env={"ALL_PROXY": "socks5://127.0.0.1:1", "NO_PROXY": "x:\xb2"})


# TLS.


@pytest.fixture(scope="module")
def tls_registry(tmp_path_factory):
    """host:port of a docker-registry with a certificate of an authority that nobody knows, and the folder of both."""
    folder = tmp_path_factory.mktemp("tls")
    config = "subjectAltName=IP:127.0.0.1,DNS:localhost"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/CN=test"]
    files = ["-keyout", f"{folder}/key.pem", "-out", f"{folder}/ca.crt", "-addext", config]
    subprocess.run([*command, *files], check=True, capture_output=True)
    server = serve_docker_registry(folder, f"  tls: {{certificate: {folder}/ca.crt, key: {folder}/key.pem}}\n")
    host = next(server)
    push(Image(tar("x")), folder / "layout", f"{host}/test:1")
    yield host, folder
    server.close()


def test_a_certificate_of_nobody_is_refused(pyfetch, tls_registry):
    host, _ = tls_registry
    status, error = pyfetch.fails(f"{host}/test:1")

    assert status == 5
    assert "self-signed certificate" in error and "certs.d" in error


@pytest.mark.parametrize("folder", ["home/.config/containers/certs.d", "etc/containers/certs.d", "etc/docker/certs.d"])
def test_an_authority_in_certs_d_is_trusted(pyfetch, tls_registry, folder):
    host, files = tls_registry
    place = pyfetch.folder / folder / host
    place.mkdir(parents=True)
    (place / "ca.crt").write_bytes((files / "ca.crt").read_bytes())
    if folder.startswith("etc/"):
        over_etc(pyfetch)

    assert pyfetch.ok(f"{host}/test:1")


@pytest.fixture(scope="module")
def strict_registry(tmp_path_factory, tls_registry):
    """host:port of a registry that wants a certificate of its clients, and the folder of one that it takes."""
    _, authority = tls_registry
    folder = tmp_path_factory.mktemp("strict")
    request = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-subj", "/CN=client"]
    request += ["-keyout", f"{folder}/client.key", "-out", f"{folder}/client.csr"]
    sign = ["openssl", "x509", "-req", "-days", "2", "-in", f"{folder}/client.csr", "-out", f"{folder}/client.cert"]
    sign += ["-CA", f"{authority}/ca.crt", "-CAkey", f"{authority}/key.pem", "-CAcreateserial"]
    for command in (request, sign):
        subprocess.run(command, check=True, capture_output=True)
    tls = f"certificate: {authority}/ca.crt, key: {authority}/key.pem, clientcas: [{authority}/ca.crt]"
    server = serve_docker_registry(folder, f"  tls: {{{tls}}}\n")
    host = next(server)
    (folder / "ca.crt").write_bytes((authority / "ca.crt").read_bytes())
    push(Image(tar("x")), folder / "layout", f"{host}/test:1", "--dest-cert-dir", str(folder))
    yield host, folder
    server.close()


@pytest.mark.parametrize("folder", [".config/containers/certs.d"])
def test_a_client_certificate_in_certs_d_is_shown(pyfetch, strict_registry, folder):
    host, files = strict_registry
    place = pyfetch.home / folder / host
    place.mkdir(parents=True)
    (place / "ca.crt").write_bytes((files / "ca.crt").read_bytes())
    without = pyfetch.fails(f"{host}/test:1", "--retries", "0")
    for name in ("client.cert", "client.key"):
        (place / name).write_bytes((files / name).read_bytes())

    assert without[0] == 5
    assert pyfetch.ok(f"{host}/test:1")


def test_a_client_certificate_without_its_key_is_an_error_that_names_it(pyfetch, strict_registry):
    host, files = strict_registry
    place = pyfetch.home / ".config/containers/certs.d" / host
    place.mkdir(parents=True)
    (place / "client.cert").write_bytes((files / "client.cert").read_bytes())
    status, error = pyfetch.fails(f"{host}/test:1")

    assert (status, "client.key" in error) == (2, True)


def test_hosts_toml_may_name_a_client_certificate(pyfetch, strict_registry):
    host, files = strict_registry
    client = f'client = [["{files}/client.cert", "{files}/client.key"]]'
    hosts_toml(pyfetch, host, f'server = "https://{host}"\nca = "{files}/ca.crt"\n{client}\n')

    assert pyfetch.ok(f"{host}/test:1")


def test_an_authority_in_the_environment_is_trusted(pyfetch, tls_registry):
    host, files = tls_registry

    assert pyfetch.ok(f"{host}/test:1", env={"SSL_CERT_FILE": str(files / "ca.crt")})


def test_insecure_takes_any_certificate(pyfetch, tls_registry):
    assert pyfetch.ok(f"{tls_registry[0]}/test:1", "--insecure")


def test_tls_goes_through_a_proxy_by_connect_and_only_the_proxy_gets_its_credentials(pyfetch, tls_registry):
    host, _ = tls_registry
    proxy = Proxy(int(host.rpartition(":")[2]))
    hosts_toml(pyfetch, "registry.invalid", 'server = "https://registry.invalid"\nskip_verify = true\n')
    pyfetch.ok("registry.invalid/test:1", env={"HTTPS_PROXY": f"http://user:pass@{proxy.host}"})
    proxy.close()

    assert {(r.method, r.path) for r in proxy.requests} == {("CONNECT", "registry.invalid:443")}
    expected = "Basic " + base64.b64encode(b"user:pass").decode()
    assert {r.headers.get("proxy-authorization") for r in proxy.requests} == {expected}
    assert set(proxy.authorizations()) == {None}


def test_hosts_toml_may_name_an_authority(pyfetch, tls_registry):
    host, files = tls_registry
    hosts_toml(pyfetch, host, f'server = "https://{host}"\nca = "{files}/ca.crt"\n')

    assert pyfetch.ok(f"{host}/test:1")


def test_a_push_over_tls_verifies_the_certificate_unless_told_otherwise(pyfetch, tls_registry):
    host, files = tls_registry
    Image(tar("pushed")).write_layout(pyfetch.folder / "layout", "x")
    status, error = pyfetch.fails("push", "oci:layout", f"{host}/pushed:1")

    assert (status, "self-signed certificate" in error) == (5, True)
    assert pyfetch.ok("push", "oci:layout", f"{host}/pushed:1", env={"SSL_CERT_FILE": str(files / "ca.crt")})
    assert pyfetch.ok("push", "oci:layout", f"{host}/pushed:2", "--insecure")
    assert pyfetch.ok("tags", f"{host}/pushed", "--insecure").split() == ["1", "2"]


def over_tls(server, tls_registry):
    """Give a server of ours the certificate of the other."""
    _, files = tls_registry
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(files / "ca.crt", files / "key.pem")
    server._server.socket = context.wrap_socket(server._server.socket, server_side=True)
    return server


@pytest.mark.parametrize("trouble", ["cut", "refused"])
def test_a_push_over_tls_that_is_cut_or_refused_as_too_long_goes_on(pyfetch, tls_registry, trouble):
    secure = over_tls(Receiver(), tls_registry)
    if trouble == "cut":
        secure.losses = [1 << 20]
    else:
        secure.most, secure.reads_too_much = 1 << 20, False
    image = Image(tar(entry("big", data=os.urandom(3 << 20))), compress=lambda data: data)
    image.write_layout(pyfetch.folder / "layout", "x")
    done = pyfetch.run("push", "oci:layout", f"{secure.host}/test:1", "--insecure")
    secure.close()

    assert done.returncode == 0, done.stderr
    assert secure.tags["1"]["digest"] == image.digest


def test_a_tls_registry_does_not_send_us_to_plain_http(pyfetch, registry, tmp_path, tls_registry):
    _, files = tls_registry
    secure = over_tls(Registry(), tls_registry)
    secure.before = lambda h: "/manifests/" in h.path and (h.reply(307, Location=f"http://{registry.host}/x"), True)[1]
    env = {"SSL_CERT_FILE": str(files / "ca.crt")}
    status, error = pyfetch.fails(f"{secure.host}/test:1", "--retries", "0", env=env)
    secure.close()

    assert status == 6
    assert "without encryption" in error
    assert registry.requests == []


def test_an_insecure_tls_registry_may_send_us_to_plain_http(pyfetch, registry, tls_registry):
    image = Image(tar("x"))
    registry.add(image)
    secure = over_tls(Registry(), tls_registry)
    secure.add(image)
    secure.before = lambda h: (
        "/blobs/" in h.path and (h.reply(307, Location=f"http://{registry.host}{h.path}"), True)[1]
    )
    done = pyfetch.run(f"{secure.host}/test:1", "--insecure")
    secure.close()

    assert done.returncode == 0, done.stderr
