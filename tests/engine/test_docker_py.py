"""docker-py, the library of Python: what its users do most, on pyrund."""

import io
import socket
import tarfile
import threading
import time

import pytest
from daemon import wait_until

docker = pytest.importorskip("docker", reason="docker-py is not installed: tests/run installs it")

pytestmark = pytest.mark.usefixtures("removed")

FOREVER = ["sleep", "1000"]


@pytest.fixture(scope="module")
def client(engine):
    made = docker.DockerClient(base_url=f"unix://{engine.socket}", timeout=30)
    yield made
    made.close()


def run(client, command, **options):
    return client.containers.run("busybox", command, network_mode="none", **options)


def begin(client, command=FOREVER, **options):
    return run(client, command, detach=True, **options)


# The engine


def test_ping_version_info_and_df(client):
    assert client.ping()
    assert client.version()["ApiVersion"] == client.api.api_version
    assert client.info()["Images"] >= 1
    assert {"Images", "Containers", "Volumes"} <= client.df().keys()


def test_the_oldest_and_the_newest_version_of_the_api(engine):
    for version in ("1.24", "1.41", "1.51"):
        own = docker.DockerClient(base_url=f"unix://{engine.socket}", version=version)
        assert own.containers.list(all=True) == []
        own.close()


def test_events_come_as_they_happen(client):
    stream = client.events(decode=True, since=time.time(), filters={"type": "container"})
    found = []
    reader = threading.Thread(target=lambda: found.extend(event["Action"] for _, event in zip(range(4), stream)))
    reader.start()
    run(client, ["true"], remove=True)
    reader.join(20)
    stream.close()

    assert found == ["create", "start", "die", "destroy"]


def test_events_of_the_past_end_by_themselves(client):
    begin(client, name="web").kill()

    actions = [event["Action"] for event in client.events(since=1, until=int(time.time()) + 1, decode=True)]
    assert "kill" in actions


# Containers


def test_run_returns_the_output(client):
    assert run(client, ["echo", "hello"], remove=True) == b"hello\n"
    assert run(client, "echo a 'b c'", remove=True) == b"a b c\n"
    assert run(client, ["sh", "-c", "echo error >&2"], remove=True, stderr=True, stdout=False) == b"error\n"
    assert client.containers.list(all=True) == []


def test_run_raises_what_the_program_returns(client):
    with pytest.raises(docker.errors.ContainerError) as caught:
        run(client, ["sh", "-c", "echo why >&2; exit 3"], remove=True)

    assert (caught.value.exit_status, caught.value.stderr) == (3, b"why\n")


def test_run_streams(client):
    lines = run(client, ["sh", "-c", "echo one; sleep 0.2; echo two"], stream=True)

    assert b"".join(lines) == b"one\ntwo\n"


def test_a_container_s_life(client):
    container = begin(client, name="web", labels={"a": "b"}, tty=True, stdin_open=True)
    assert container.status in ("created", "running")
    container.reload()
    assert (container.status, container.name, container.labels) == ("running", "web", {"a": "b"})
    assert [one.id for one in client.containers.list(filters={"label": "a=b"})] == [container.id]
    assert client.containers.list(filters={"label": ["a=c"]}) == []
    container.pause()
    container.reload()
    assert container.status == "paused"
    container.unpause()
    container.rename("other")
    container.restart(timeout=0)
    assert client.containers.get("other").attrs["State"]["Running"]
    assert container.top()["Titles"][-1] == "CMD"
    container.stop(timeout=0)
    assert container.wait()["StatusCode"] == 137
    container.start()
    container.kill()
    container.remove()
    with pytest.raises(docker.errors.NotFound):
        client.containers.get("other")


def test_options_have_their_effect(client, tmp_path):
    container = begin(
        client,
        ["sh", "-c", "id -u; pwd; echo $A; cat /data/file; cat /sys/fs/cgroup/*/memory.limit_in_bytes | head -1"],
        user=7,
        working_dir="/tmp",
        environment={"A": "b"},
        volumes={str(tmp_path): {"bind": "/data", "mode": "ro"}},
        mem_limit="64m",
        nano_cpus=500_000_000,
        cap_drop=["ALL"],
        hostname="box",
        read_only=True,
        tmpfs={"/run": "size=1m"},
        init=True,
        ulimits=[docker.types.Ulimit(name="nofile", soft=100, hard=100)],
        log_config=docker.types.LogConfig(type="json-file", config={"max-size": "1m"}),
        restart_policy={"Name": "on-failure", "MaximumRetryCount": 1},
        mounts=[docker.types.Mount("/scratch", None, type="tmpfs")],
    )
    (tmp_path / "file").write_text("")

    container.wait()
    assert container.logs().split(b"\n")[:3] == [b"7", b"/tmp", b"b"]
    host = container.attrs["HostConfig"]
    assert (host["Memory"], host["NanoCpus"]) == (64 << 20, 500_000_000)


def test_a_name_that_is_taken_is_a_conflict(client):
    begin(client, name="web")

    with pytest.raises(docker.errors.APIError) as caught:
        begin(client, name="web")
    assert caught.value.status_code == 409


def test_a_program_that_is_not_there_is_an_error_of_the_api(client):
    with pytest.raises(docker.errors.APIError) as caught:
        run(client, ["nosuch"])
    assert "executable file not found" in str(caught.value)


def test_wait_has_a_timeout_and_conditions(client):
    container = begin(client)
    with pytest.raises(Exception, match="[Tt]imed out"):
        container.wait(timeout=0.5)

    threading.Timer(0.2, container.kill).start()
    assert container.wait(condition="next-exit")["StatusCode"] == 137


def test_limits_are_changed(client):
    container = begin(client, mem_limit="64m")
    container.update(mem_limit="128m", memswap_limit="256m")
    container.reload()

    assert container.attrs["HostConfig"]["Memory"] == 128 << 20


def test_prune_removes_what_has_ended(client):
    container = begin(client, ["true"])
    container.wait()

    assert client.containers.prune()["ContainersDeleted"] == [container.id]


def test_stats_once_and_as_a_stream(client):
    container = begin(client)

    assert container.stats(stream=False)["memory_stats"]["usage"] > 0
    stream = container.stats(stream=True, decode=True)
    assert next(stream)["id"] == container.id
    stream.close()


def test_files_are_copied_both_ways(client):
    container = begin(client, name="web")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        entry = tarfile.TarInfo("file")
        entry.size = 5
        archive.addfile(entry, io.BytesIO(b"hello"))
    assert container.put_archive("/tmp", packed.getvalue())
    assert container.exec_run(["cat", "/tmp/file"]).output == b"hello"

    chunks, stat = container.get_archive("/tmp/file")
    with tarfile.open(fileobj=io.BytesIO(b"".join(chunks))) as archive:
        assert archive.extractfile("file").read() == b"hello"
    assert (stat["name"], stat["size"]) == ("file", 5)
    assert {"Path": "/tmp/file", "Kind": 1} in container.diff()
    assert b"hello" in b"".join(container.export())


# Logs, attach, exec


def test_logs_in_all_ways(client):
    container = begin(client, ["sh", "-c", "echo one; echo two >&2; sleep 0.5; echo three"])
    assert b"".join(container.logs(stream=True, follow=True)) == b"one\ntwo\nthree\n"
    assert container.logs(stdout=False) == b"two\n"
    assert container.logs(tail=1) == b"three\n"
    assert container.logs(timestamps=True, tail=1).endswith(b"Z three\n")
    assert container.logs(since=int(time.time()) + 100) == b""


def test_attach_streams_what_comes(client):
    container = client.containers.create("busybox", ["sh", "-c", "echo out; echo error >&2"], network_mode="none")
    stream = container.attach(stream=True, demux=True)
    container.start()

    assert list(stream) == [(b"out\n", None), (None, b"error\n")]


def test_attach_by_a_socket_goes_both_ways(client):
    container = client.containers.create("busybox", "cat", stdin_open=True, network_mode="none")
    attached = container.attach_socket(params={"stdin": 1, "stdout": 1, "stream": 1})
    container.start()
    attached._sock.sendall(b"typed\n")
    attached._sock.shutdown(socket.SHUT_WR)
    data = b""
    while part := attached._sock.recv(1000):
        data += part
    attached.close()

    assert data == b"\1\0\0\0\0\0\0\6typed\n"


def test_exec_in_all_ways(client):
    container = begin(client)
    assert container.exec_run("echo hello") == (0, b"hello\n")
    assert container.exec_run(["sh", "-c", "echo out; echo error >&2; exit 4"], demux=True) == (
        4,
        (b"out\n", b"error\n"),
    )
    assert container.exec_run("pwd", workdir="/tmp", user="7", environment={"A": "b"}).output == b"/tmp\n"
    assert container.exec_run("tty", tty=True).output == b"/dev/pts/0\r\n"
    assert b"".join(container.exec_run("seq 3", stream=True).output) == b"1\n2\n3\n"
    container.exec_run("touch /made", detach=True)
    wait_until(lambda: container.exec_run("ls /made").exit_code == 0, "the file")
    assert container.exec_run("nosuch").exit_code == 127


def test_exec_by_a_socket_goes_both_ways(client):
    container = begin(client)
    id_ = client.api.exec_create(container.id, "cat", stdin=True)["Id"]
    stream = client.api.exec_start(id_, socket=True)
    stream._sock.sendall(b"typed\n")
    stream._sock.shutdown(socket.SHUT_WR)
    data = b""
    while part := stream._sock.recv(1000):
        data += part
    stream.close()

    assert data.endswith(b"typed\n")
    wait_until(lambda: not client.api.exec_inspect(id_)["Running"], "the end")
    assert client.api.exec_inspect(id_)["ExitCode"] == 0


def test_a_terminal_has_the_size_that_it_is_given(client):
    container = begin(client, ["sh", "-c", "while [ \"$(stty size)\" != '20 50' ]; do sleep 0.05; done"], tty=True)
    container.resize(20, 50)

    assert container.wait(timeout=20)["StatusCode"] == 0


# Images


def test_images(client):
    image = client.images.pull("hello-world")
    assert image.tags == ["hello-world:latest"]
    assert image.tag("mine", "1")
    assert {"mine:1", "hello-world:latest"} <= {tag for one in client.images.list() for tag in one.tags}
    assert client.images.list("mine")[0].id == image.id
    assert isinstance(client.images.get("mine:1").history(), list)
    assert len(b"".join(image.save(named=True))) > 1000
    client.images.remove("mine:1")
    assert client.images.get("hello-world").short_id.startswith("sha256:")
    with pytest.raises(docker.errors.ImageNotFound):
        client.images.get("mine:1")


def test_an_image_that_the_registry_lacks_is_not_found(client):
    with pytest.raises(docker.errors.NotFound):
        client.images.pull("127.0.0.1:5000/library/nosuch")


def test_run_fetches_a_missing_image(client):
    if client.images.list("hello-world"):
        client.images.remove("hello-world", force=True)

    assert client.containers.run("hello-world", network_mode="none", remove=True) == b"Hello from Docker!\n"


def test_an_archive_that_was_saved_is_loaded(client):
    client.images.pull("hello-world")
    archive = b"".join(client.images.get("hello-world").save(named=True))
    client.images.remove("hello-world", force=True)

    assert client.images.load(archive)[0].tags == ["hello-world:latest"]


def test_what_happens_in_a_pull_is_shown(client):
    if client.images.list("hello-world"):
        client.images.remove("hello-world", force=True)
    events = list(client.api.pull("hello-world", tag="latest", stream=True, decode=True))

    assert events[0]["status"] == "Pulling from library/hello-world"
    assert any(event["status"] == "Pull complete" for event in events)
    assert events[-1]["status"] == "Status: Downloaded newer image for hello-world:latest"


# Volumes and networks


def test_volumes(client):
    volume = client.volumes.create("data", labels={"a": "b"})
    run(client, ["sh", "-c", "echo kept > /data/file"], volumes={"data": {"bind": "/data", "mode": "rw"}}, remove=True)
    assert run(client, ["cat", "/data/file"], volumes=["data:/data"], remove=True) == b"kept\n"
    assert [one.name for one in client.volumes.list(filters={"label": "a"})] == ["data"]
    assert volume.attrs["Driver"] == "local"
    volume.remove()
    with pytest.raises(docker.errors.NotFound):
        client.volumes.get("data")


def test_the_networks_that_are_always_there(client):
    assert {"bridge", "host", "none"} <= {one.name for one in client.networks.list()}
    assert client.networks.get("bridge").attrs["Driver"] == "bridge"


def test_published_ports_are_in_attrs(client):
    container = client.containers.run(
        "busybox", FOREVER, detach=True, ports={"80/tcp": None, "81/udp": ("127.0.0.1", 8181)}
    )
    container.reload()

    assert container.ports["81/udp"] == [{"HostIp": "127.0.0.1", "HostPort": "8181"}]
    assert int(container.ports["80/tcp"][0]["HostPort"]) > 1024
