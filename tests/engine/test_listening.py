"""Where the daemon listens, who may use it, and what it is told by daemon.json."""

import json
import os
import select
import shutil
import signal
import socket
import subprocess
import time

import pytest
from daemon import DOCKER, DOCKERS, PYRUND, Daemon, unable_to_fork, wait_until

TIMEOUT = 30


@pytest.fixture
def serve(hub, tmp_path):
    """Start daemons with options of their own."""
    started = []

    def start(*options, hub=hub):
        started.append(Daemon(hub, tmp_path, *options))
        return started[-1]

    yield start
    for daemon in started:
        daemon.stop()
        assert "Traceback" not in daemon.log.read_text()


def refused(hub, directory, *options):
    """Return what `serve` says that does not begin."""
    command = [*hub.inside, PYRUND, "serve", "--data-root", f"{directory}/d", "--exec-root", f"{directory}/r", *options]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT)
    assert (done.returncode, done.stdout) == (1, ""), done.stderr
    return done.stderr


def client(hub, program, address, *words, **options):
    command = [*hub.inside, program, *(("-H", address) if address else ()), *words]
    return subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=TIMEOUT, **options)


def request(hub, head, port=2375):
    """Send a request by TCP; return the status and the body."""
    program = (
        "import socket, sys; s = socket.create_connection(('127.0.0.1', int(sys.argv[1]))); "
        "s.sendall(sys.argv[2].encode()); s.shutdown(socket.SHUT_WR)\n"
        "while data := s.recv(65536): sys.stdout.write(data.decode())"
    )
    done = subprocess.run([*hub.inside, "python3", "-c", program, str(port), head], capture_output=True, text=True)
    head, _, body = done.stdout.partition("\n\n")
    return int(head.split(" ")[1]), body


# TCP


@pytest.mark.parametrize("program", [*DOCKERS, PYRUND])
def test_tcp_on_loopback_serves_all_that_the_socket_does(hub, serve, program):
    engine = serve("-H", "tcp://127.0.0.1:2375")
    engine.ok("pull", "busybox")
    words = ("run", "--rm", "-i", "--network=none", "busybox", "sh", "-c", "cat; exit 4")

    done = client(hub, program, "tcp://127.0.0.1:2375", *words, input="typed\n")

    assert (done.returncode, done.stdout, done.stderr) == (4, "typed\n", "")


@pytest.mark.parametrize(
    ("host", "more", "words"),
    [
        ("tcp://0.0.0.0:2375", [], "whoever reaches this address would be root here; use --tlsverify"),
        ("tcp://:2375", [], "whoever reaches this address would be root here"),
        ("tcp://0.0.0.0:2375", ["--tls"], "whoever reaches this address would be root here"),
        ("tcp://[::]:2375", [], "whoever reaches this address would be root here"),
        (
            "tcp://127.0.0.1:2375",
            ["--tlsverify"],
            "TLS with /etc/docker/ca.pem, /etc/docker/cert.pem, /etc/docker/key.pem: No such",
        ),
        ("tcp://127.0.0.1:99999", [], "expected tcp://ADDRESS:PORT"),
        ("tcp://127.0.0.1:5000", [], "Address already in use"),
        ("tcp://1.2.3.4:2375", ["--insecure-tcp"], "Cannot assign requested address"),
        ("ftp://x", [], "expected unix:///PATH, tcp://ADDRESS:PORT or fd://"),
        ("fd://", [], "no sockets found: the service manager has to open them"),
    ],
)
def test_an_address_that_cannot_be_served_is_refused_by_name(hub, tmp_path, host, more, words):
    other = f"unix://{tmp_path}/socket"

    error = refused(hub, tmp_path, "-H", other, "-H", host, *more)

    assert words in error
    assert len(error.splitlines()) == 1
    assert not (tmp_path / "socket").exists()  # the first address was open


def test_a_public_address_is_served_if_that_is_asked_for(hub, serve):
    serve("-H", "tcp://0.0.0.0:2376", "--insecure-tcp")

    head = "GET /_ping HTTP/1.1\r\nHost: name.example\r\nConnection: close\r\n"
    assert request(hub, f"{head}\r\n", 2376) == (200, "OK")  # nobody here knows its names
    assert request(hub, f"{head}Origin: https://page.example\r\n\r\n", 2376)[0] == 403
    assert request(hub, "GET /_ping HTTP/1.1\r\nHost: 10.1.2.3:2376\r\nConnection: close\r\n\r\n", 2376) == (200, "OK")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ("Host: 127.0.0.1:2375", 200),
        ("Host: [::1]:2375", 200),
        ("Host: localhost:2375", 200),
        ("Host: docker", 200),
        ("Host: rebound.example:2375", 403),
        ("Host: 127.0.0.1.nip.example", 403),
        ("Host: 127.0.0.1:2375\r\nOrigin: https://page.example", 403),
        ("Host: 127.0.0.1:2375\r\nOrigin: null", 403),
        ("Host: 127.0.0.1:2375\r\nOrigin: http://127.0.0.1:3000", 403),
        ("Host: rebound.example:2375\r\nOrigin: http://rebound.example:2375", 403),
        ("Host: 127.0.0.1:2375\r\nOrigin: http://127.0.0.1:2375", 200),
        ("Host: 127.0.0.1:2375\r\nSec-Fetch-Site: cross-site", 403),
    ],
)
def test_browsers_are_refused(hub, tcp_engine, headers, status):
    found, body = request(hub, f"GET /info HTTP/1.1\r\n{headers}\r\nConnection: close\r\n\r\n")

    assert found == status
    if status == 403:
        assert "are refused" in json.loads(body)["message"]


def test_the_body_of_a_refused_page_is_not_a_request_of_its_own(hub, tcp_engine):
    volume = json.dumps({"Name": "of-the-page"})
    body = f"POST /volumes/create HTTP/1.1\r\nHost: localhost\r\nContent-Length: {len(volume)}\r\n\r\n{volume}"
    head = "POST /info HTTP/1.1\r\nHost: 127.0.0.1:2375\r\nOrigin: https://page.example\r\nContent-Type: text/plain\r\n"

    found, _ = request(hub, f"{head}Content-Length: {len(body)}\r\n\r\n{body}")

    assert found == 403
    assert tcp_engine.call("GET", "/volumes")[1]["Volumes"] == []


@pytest.fixture(scope="module")
def tcp_engine(hub, tmp_path_factory):
    daemon = Daemon(hub, tmp_path_factory.mktemp("tcp"), "-H", "tcp://localhost:2375")
    yield daemon
    daemon.stop()


# TLS


@pytest.fixture(scope="module")
def certificates(tmp_path_factory):
    """A folder with an authority, a server's certificate for 127.0.0.1, a client's, and one of another authority."""
    folder = tmp_path_factory.mktemp("certificates")

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("ca", "other"):
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-x509", "-days", "2")
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem", "-out", f"{name}.pem")
    for name, authority in (("server", "ca"), ("client", "ca"), ("stranger", "other")):
        new = ("-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes")
        openssl("req", *new, "-subj", f"/CN={name}", "-keyout", f"{name}-key.pem", "-out", f"{name}.csr")
        (folder / "names").write_text("subjectAltName=IP:127.0.0.1")
        signer = ("-CA", f"{authority}.pem", "-CAkey", f"{authority}-key.pem", "-CAcreateserial", "-days", "2")
        openssl("x509", "-req", "-in", f"{name}.csr", *signer, "-extfile", "names", "-out", f"{name}.pem")
    return folder


@pytest.fixture(scope="module")
def tls_engine(hub, tmp_path_factory, certificates):
    files = {"ca": "tlscacert", "server": "tlscert", "server-key": "tlskey"}
    options = [f"--{option}={certificates}/{name}.pem" for name, option in files.items()]
    host = ("-H", "tcp://127.0.0.1:2377", "--tlsverify")
    daemon = Daemon(hub, tmp_path_factory.mktemp("tls"), *host, *options)
    daemon.ok("pull", "busybox")
    yield daemon
    daemon.stop()
    assert "Traceback" not in daemon.log.read_text()


def with_certificate(folder, name, authority="ca"):
    files = {f"{folder}/{authority}.pem": "tlscacert", f"{folder}/{name}.pem": "tlscert"}
    files[f"{folder}/{name}-key.pem"] = "tlskey"
    return ["--tlsverify", *(f"--{option}={path}" for path, option in files.items())]


@pytest.mark.parametrize("program", [*DOCKERS, PYRUND])
def test_a_client_with_a_certificate_runs_containers(hub, tls_engine, certificates, program):
    words = ("run", "--rm", "-i", "--network=none", "busybox", "sh", "-c", "cat | wc -c; exit 4")
    options = [*with_certificate(certificates, "client"), "-H", "tcp://127.0.0.1:2377"]

    done = client(hub, program, "", *options, *words, input="x" * 3_000_000)

    assert (done.returncode, done.stdout, done.stderr) == (4, "3000000\n", "")


@pytest.mark.parametrize("program", [DOCKER, PYRUND])
def test_much_output_arrives_whole_by_tls(hub, tls_engine, certificates, program):
    options = [*with_certificate(certificates, "client"), "-H", "tcp://127.0.0.1:2377"]

    done = client(hub, program, "", *options, "run", "--rm", "--network=none", "busybox", "seq", "300000")

    assert done.stdout.split() == list(map(str, range(1, 300_001)))


@pytest.mark.parametrize("program", [DOCKER, PYRUND])
@pytest.mark.parametrize(("name", "authority"), [("stranger", "ca"), ("client", "other")])
def test_a_certificate_of_another_authority_opens_nothing(hub, tls_engine, certificates, program, name, authority):
    options = [*with_certificate(certificates, name, authority), "-H", "tcp://127.0.0.1:2377"]

    done = client(hub, program, "", *options, "ps")

    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert tls_engine.ok("ps", "-q") == ""


def test_a_client_that_says_nothing_does_not_delay_others(hub, tls_engine, certificates):
    silent = subprocess.Popen(
        [*hub.inside, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/2377; echo up; sleep 100"], stdout=-1
    )
    silent.stdout.readline()
    options = [*with_certificate(certificates, "client"), "-H", "tcp://127.0.0.1:2377"]

    assert client(hub, PYRUND, "", *options, "ps").returncode == 0
    silent.kill()
    silent.wait()


def test_too_many_processes_end_no_connection_of_tls(hub, tls_engine, certificates):
    options = [*with_certificate(certificates, "client"), "-H", "tcp://127.0.0.1:2377"]
    command = [*hub.inside, PYRUND, *options, "events", "--filter", "type=volume"]
    watching = subprocess.Popen(list(map(str, command)), stdout=subprocess.PIPE, text=True)
    shown = [watching.stdout], [], [], 0
    try:
        wait_until(lambda: tls_engine.ok("volume", "create") and select.select(*shown)[0], "the first event")
        with unable_to_fork(tls_engine.children()["tls"]):
            assert client(hub, PYRUND, "", *options, "ps").returncode != 0
        assert client(hub, PYRUND, "", *options, "ps").returncode == 0
        assert watching.poll() is None
    finally:
        watching.kill()
        watching.wait()


@pytest.mark.parametrize("program", [DOCKER, PYRUND])
def test_variables_name_the_certificates(hub, tls_engine, certificates, tmp_path, program):
    for name, file in (("ca", "ca"), ("client", "cert"), ("client-key", "key")):
        (tmp_path / f"{file}.pem").write_bytes((certificates / f"{name}.pem").read_bytes())
    variables = {"DOCKER_HOST": "tcp://127.0.0.1:2377", "DOCKER_TLS_VERIFY": "1", "DOCKER_CERT_PATH": str(tmp_path)}

    assert client(hub, program, "", "images", "-q", env={**os.environ, **variables}).stdout != ""


def test_bytes_that_are_not_tls_are_only_an_end(hub, tls_engine, certificates):
    program = (
        "import os, socket\n"
        "for data in [b'GET / HTTP/1.1\\r\\n\\r\\n', b'\\x16\\x03\\x01', b'', *(os.urandom(500) for _ in range(20))]:\n"
        "    s = socket.create_connection(('127.0.0.1', 2377)); s.sendall(data); s.close()"
    )
    subprocess.run([*hub.inside, "python3", "-c", program], check=True, timeout=TIMEOUT)
    options = [*with_certificate(certificates, "client"), "-H", "tcp://127.0.0.1:2377"]

    assert client(hub, PYRUND, "", *options, "ps").returncode == 0
    assert "Traceback" not in tls_engine.log.read_text()


def test_the_process_for_tls_is_begun_again_when_it_was_killed(hub, tls_engine, certificates):
    options = [*with_certificate(certificates, "client"), "-H", "tcp://127.0.0.1:2377"]
    killed = tls_engine.children()["tls"]

    os.kill(killed, signal.SIGKILL)

    wait_until(lambda: tls_engine.children().get("tls", killed) != killed, "another process for TLS")
    assert client(hub, PYRUND, "", *options, "ps").returncode == 0


def test_a_process_for_tls_that_cannot_begin_is_tried_again_and_its_reason_told(hub, serve, certificates, tmp_path):
    for name in ("ca", "server", "server-key"):
        shutil.copy(certificates / f"{name}.pem", tmp_path)
    files = [f"--tls{kind}={tmp_path}/{name}.pem" for kind, name in (("cacert", "ca"), ("cert", "server"))]
    engine = serve("-H", "tcp://127.0.0.1:2378", "--tlsverify", *files, f"--tlskey={tmp_path}/server-key.pem")
    os.rename(tmp_path / "ca.pem", tmp_path / "hidden.pem")
    os.kill(engine.children()["tls"], signal.SIGKILL)
    wait_until(lambda: "ca.pem" in engine.log.read_text(), "the reason")

    os.rename(tmp_path / "hidden.pem", tmp_path / "ca.pem")

    options = [*with_certificate(certificates, "client"), "-H", "tcp://127.0.0.1:2378"]
    wait_until(lambda: client(hub, PYRUND, "", *options, "ps").returncode == 0, "an answer")


# The service manager


def test_sockets_of_the_service_manager_are_served_and_it_is_told(hub, tmp_path):
    manager = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    manager.bind(str(tmp_path / "notify"))
    manager.settimeout(TIMEOUT)
    listening = socket.socket(socket.AF_UNIX)
    listening.bind(str(tmp_path / "given"))
    listening.listen()
    program = (
        f"import os; os.dup2({listening.fileno()}, 3); os.environ['LISTEN_PID'] = str(os.getpid()); "
        f"os.execv('{PYRUND}', ['pyrund', 'serve', '--data-root', '{tmp_path}/d', '--exec-root', '{tmp_path}/r'])"
    )
    environment = {**os.environ, "LISTEN_FDS": "1", "NOTIFY_SOCKET": str(tmp_path / "notify")}
    command = [*hub.inside, "python3", "-c", program]
    daemon = subprocess.Popen(command, env=environment, pass_fds=[listening.fileno()])
    try:
        assert manager.recv(100) == b"READY=1\n"
        assert client(hub, DOCKER, f"unix://{tmp_path}/given", "ps", "-q").returncode == 0
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT)
    assert manager.recv(100) == b"STOPPING=1\n"
    assert (tmp_path / "given").exists()


# daemon.json


def test_daemon_json_is_applied_and_what_is_unknown_is_named(hub, serve, tmp_path):
    settings = {
        "hosts": ["tcp://127.0.0.1:2378"],
        "labels": ["place=here"],
        "debug": True,
        "log-opts": {"max-size": "5m"},
        "registry-mirrors": ["http://127.0.0.1:5000"],
        "insecure-registries": ["127.0.0.1:5000"],
        "bip": "10.77.0.1/24",
        "default-address-pools": [{"base": "10.78.0.0/16", "size": 24}],
        "exec-opts": ["native.cgroupdriver=systemd"],
    }
    (tmp_path / "daemon.json").write_text(json.dumps(settings))
    command = [*hub.inside, PYRUND, "serve", "--config-file", tmp_path / "daemon.json"]
    command += ["--data-root", tmp_path / "d", "--exec-root", tmp_path / "r"]
    with open(tmp_path / "log", "w") as log:
        daemon = subprocess.Popen(list(map(str, command)), stderr=log)
    try:
        address = "tcp://127.0.0.1:2378"
        wait_until(lambda: client(hub, PYRUND, address, "info").returncode == 0, "the daemon")
        form = "{{.Labels}} {{.Debug}} {{.RegistryConfig.Mirrors}} {{.RegistryConfig.InsecureRegistryCIDRs}}"
        shown = client(hub, PYRUND, address, "info", "-f", form).stdout
        assert shown == "[place=here] true [http://127.0.0.1:5000] [127.0.0.0/8 127.0.0.1:5000]\n"
        assert client(hub, PYRUND, address, "create", "--name", "web", "busybox").returncode == 0  # by the mirror
        found = client(hub, PYRUND, address, "inspect", "-f", "{{json .HostConfig.LogConfig}}", "web").stdout
        assert json.loads(found) == {"Type": "json-file", "Config": {"max-size": "5m"}}
        client(hub, PYRUND, address, "rm", "web")
        words = ("run", "--rm", "busybox", "ip", "route")
        assert "default via 10.77.0.1" in client(hub, PYRUND, address, *words).stdout
        client(hub, DOCKER, address, "network", "create", "mine")
        found = client(hub, PYRUND, address, "inspect", "-f", "{{json .IPAM.Config}}", "mine").stdout
        assert json.loads(found)[0]["Subnet"] == "10.78.0.0/24"
        client(hub, DOCKER, address, "network", "rm", "mine")
    finally:
        daemon.terminate()
        daemon.wait(TIMEOUT)
    warning = f"pyrund: warning: {tmp_path}/daemon.json: unknown name 'exec-opts': ignored\n"
    assert (tmp_path / "log").read_text() == warning


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("{", [], "daemon.json"),
        ('{"hosts": "tcp://127.0.0.1:1"}', [], "hosts"),
        ('{"data-root": "/x"}', [], "data-root is given both as an option and in"),
        *(
            (f'{{"{name}": true}}', [f"--{name}={value}"], f"{name} is given both as an option and in")
            for name in ("debug", "experimental", "tls", "tlsverify", "ipv6")
            for value in ("true", "false")
        ),
        ('{"log-driver": "gelf"}', [], "log-driver, log-opts: log driver gelf"),
        ('{"log-opts": {"nosuch": "1"}}', [], "unknown log opt 'nosuch' for json-file log driver"),
        ('{"bip": "10.0.0.0/24"}', [], "bip"),
        ('{"bip": "x"}', [], "bip"),
        ('{"default-address-pools": [{"base": "10.0.0.0/8", "size": 7}]}', [], "default-address-pools"),
        ('{"default-address-pools": [{"base": "10.0.0.1/8", "size": 16}]}', [], "base"),
        ("{}", ["--idle", "x"], 'invalid argument "x" for "--idle" flag'),
    ],
)
def test_wrong_settings_are_refused_in_one_line(hub, tmp_path, content, more, words):
    (tmp_path / "daemon.json").write_text(content)

    command = [*hub.inside, PYRUND, "serve", "--config-file", f"{tmp_path}/daemon.json", "--data-root", f"{tmp_path}/d"]
    command += ["--exec-root", f"{tmp_path}/r", "-H", f"unix://{tmp_path}/s", *more]
    done = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert done.returncode == (125 if "flag" in words else 1)
    assert words in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert not (tmp_path / "d").exists()


def test_the_data_of_dockerd_is_left_alone(hub, tmp_path):
    (tmp_path / "d/overlay2").mkdir(parents=True)

    assert "has the data of dockerd" in refused(hub, tmp_path, "-H", f"unix://{tmp_path}/s")
    assert os.listdir(tmp_path / "d") == ["overlay2"]


@pytest.mark.parametrize("name", ["volumes/photos/_data/file", "containers/box/file", "builds/made/file", "events"])
def test_a_folder_with_somebody_s_files_is_no_data_root(hub, tmp_path, name):
    """An engine that begins removes volumes, containers and builds that were half made."""
    file = tmp_path / "d" / name
    file.parent.mkdir(parents=True)
    file.write_text("mine")

    said = refused(hub, tmp_path, "-H", f"unix://{tmp_path}/s")

    assert f"{tmp_path}/d/{name.partition('/')[0]} is not of pyrund; name another folder with --data-root" in said
    assert file.read_text() == "mine"
    assert os.listdir(tmp_path / "d") == [name.partition("/")[0]]


def test_a_folder_that_others_can_write_to_is_no_data_root(hub, tmp_path):
    (tmp_path / "d").mkdir()
    (tmp_path / "d").chmod(0o1777)

    said = refused(hub, tmp_path, "-H", f"unix://{tmp_path}/s")

    assert f"{tmp_path}/d: belongs to or can be written by another user; name another folder with --data-root" in said
    assert os.listdir(tmp_path / "d") == []


# A daemon that nobody has started


def test_a_daemon_ends_when_nobody_needs_it_any_more(serve):
    engine = serve("--idle", "1")
    engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "2")
    time.sleep(1.5)
    assert engine.process.poll() is None  # a container runs

    assert engine.process.wait(TIMEOUT) == 0
    assert not engine.socket.exists()
    engine.start()
    assert engine.ok("ps", "-a", "--format", "{{.Status}}").startswith("Exited (0)")
    engine.remove_all()
