"""What the suites of docker-py, aiodocker and moby ask of an engine, and dockerd answers."""

import json
import os
import shutil
import time

import pytest
from hello import hello

pytestmark = pytest.mark.usefixtures("removed")


@pytest.fixture
def web(engine):
    return engine.ok("run", "-d", "--name", "web", "--network=none", "busybox", "sleep", "1000")


# Images


def test_an_image_whose_last_name_goes_to_another_one_by_tag_stays_without_a_name(engine):
    engine.ok("run", "--name", "maker", "--network=none", "busybox", "touch", "/precious")
    image = engine.ok("commit", "maker", "work")

    engine.ok("tag", "busybox", "work")

    assert engine.inspect(image, ".RepoTags") == []
    assert image in engine.ok("images", "--no-trunc", "--quiet", "--filter", "dangling=true")
    engine.ok("rmi", "work")
    engine.ok("rmi", image)


@pytest.mark.parametrize("way", ["pull", "load"])
def test_an_image_whose_name_comes_with_another_one_stays_without_a_name(engine, hub, tmp_path, way):
    hub.push(hello("one"), "renewed:latest")
    engine.ok("pull", "renewed")
    former = engine.inspect("renewed", ".Id")
    if way == "pull":
        hub.push(hello("two"), "renewed:latest")
        engine.ok("pull", "renewed")
    else:
        engine.ok("save", "-o", tmp_path / "archive", "renewed")
        engine.ok("tag", "busybox", "renewed")
        engine.ok("image", "prune", "-f")
        former = engine.inspect("busybox", ".Id")
        engine.ok("tag", "busybox", "kept")
        engine.ok("rmi", "busybox", "kept")
        engine.ok("load", "-i", tmp_path / "archive")

    assert engine.inspect(former, ".RepoTags") == []
    assert engine.inspect("renewed", ".Id") != former
    assert former[7:19] in engine.ok("image", "prune", "-f")
    assert engine.docker("image", "inspect", former).returncode == 1
    engine.ok("rmi", "renewed")
    engine.ok("pull", "busybox")


def test_an_image_that_is_pulled_again_is_not_kept_twice(engine, hub):
    hub.push(hello("same"), "renewed:latest")
    for _ in range(2):
        engine.ok("pull", "renewed")
    engine.ok("tag", "renewed", "renewed")

    engine.ok("rmi", "renewed")

    assert engine.ok("images", "-q", "--filter", "dangling=true") == ""


def test_ps_shows_the_id_of_an_image_whose_name_leads_to_another_one_now(engine):
    engine.ok("tag", "busybox", "base")
    engine.ok("run", "-d", "--name", "web", "--network=none", "base", "sleep", "1000")
    engine.ok("commit", "web", "base")

    assert engine.ok("ps", "--no-trunc", "--format", "{{.Image}}").startswith("sha256:")
    assert engine.inspect("web", ".Config.Image") == "base"
    engine.remove_all()
    engine.ok("rmi", "base")


def test_events_of_an_images_names_have_its_labels(engine):
    engine.ok("create", "--name", "maker", "--network=none", "busybox")
    engine.ok("commit", "--change", "LABEL kind=labelled", "maker", "one")
    engine.ok("tag", "one", "two")
    engine.ok("rmi", "two")

    assert engine.has_seen("type=image", "label=kind=labelled", "event=tag")
    assert engine.has_seen("type=image", "label=kind=labelled", "event=untag")
    engine.ok("rmi", "one")


# Containers


def test_a_stream_of_stats_ends_when_the_container_is_removed(engine, web):
    with engine.connect() as connection:
        connection.sendall(b"GET /containers/web/stats HTTP/1.1\r\nHost: d\r\nConnection: close\r\n\r\n")
        assert b"200 OK" in connection.recv(65536)
        engine.ok("rm", "-f", "web")
        deadline = time.monotonic() + 5
        while connection.recv(65536):
            assert time.monotonic() < deadline, "the stream goes on"


def test_a_container_without_a_network_by_the_old_field(engine):
    wanted = {"Image": "busybox", "Cmd": ["ls", "/sys/class/net"], "NetworkDisabled": True}
    assert engine.call("POST", "/containers/create?name=lonely", wanted)[0] == 201
    assert engine.ok("start", "-a", "lonely") == "lo"


def test_the_directory_that_a_container_works_in_is_there_when_it_has_been_created(engine, tmp_path):
    engine.ok("create", "--name", "web", "--network=none", "-w", "/home/app", "busybox", "cat", "file")
    (tmp_path / "file").write_text("content")

    engine.ok("cp", tmp_path / "file", "web:/home/app/")

    assert engine.ok("start", "-a", "web") == "content"


def test_names_are_found_although_etc_is_a_volume(engine):
    shown = engine.ok("run", "--rm", "-v", "/etc", "busybox", "ls", "/etc/hosts", "/etc/hostname", "/etc/resolv.conf")

    assert shown.split() == ["/etc/hostname", "/etc/hosts", "/etc/resolv.conf"]


def test_an_exec_without_a_terminal_has_no_term_of_the_containers(engine):
    engine.ok("run", "-dt", "--name", "web", "--network=none", "busybox", "sleep", "1000")

    assert "TERM=" not in engine.ok("exec", "web", "env")


def test_an_exec_has_a_terminal_if_it_was_created_with_one(engine, web):
    """docker-py's exec_create(tty=True) and exec_start() without it: frames, of what a terminal shows."""
    exec_ = engine.call("POST", "/containers/web/exec", {"Cmd": ["tty"], "Tty": True, "AttachStdout": True})[1]["Id"]
    body = json.dumps({"Detach": False, "Tty": False})
    head = f"POST /exec/{exec_}/start HTTP/1.1\r\nHost: d\r\nConnection: close\r\nContent-Length: {len(body)}\r\n\r\n"

    assert b"/dev/pts/0\r\n" in engine.exchange((head + body).encode())


def test_names_in_json_are_taken_in_any_case(engine):
    """As by Go: docker-py sends `detachKeys` and `CPURealtimePeriod`."""
    wanted = {"image": "busybox", "cmd": ["true"], "hostConfig": {"networkMode": "none", "memory": 64 << 20}}
    assert engine.call("POST", "/containers/create?name=small", wanted)[0] == 201
    assert engine.inspect("small", ".HostConfig.Memory") == 64 << 20


@pytest.mark.parametrize("name", ["KernelMemory", "CpuCount", "CpuPercent", "IOMaximumIOps", "IOMaximumBandwidth"])
def test_options_that_mean_nothing_on_linux_are_taken(engine, name):
    wanted = {"Image": "busybox", "HostConfig": {"NetworkMode": "none", name: 1 << 30}}

    assert engine.call("POST", "/containers/create?name=small", wanted)[0] == 201


def test_a_new_size_of_a_terminal_is_told(engine):
    engine.ok("run", "-dt", "--name", "web", "--network=none", "busybox", "sleep", "1000")
    assert engine.call("POST", "/containers/web/resize?h=30&w=100")[0] == 200

    assert engine.has_seen("event=resize", "container=web")


# Networks


def test_a_network_is_local(engine):
    assert engine.call("GET", "/networks/none?scope=local")[0] == 200
    assert engine.call("GET", "/networks/none?scope=swarm") == (404, {"message": "network none not found"})


# Volumes


def test_a_volume_whose_folder_somebody_has_removed_can_be_removed(engine):
    engine.ok("volume", "create", "gone")
    shutil.rmtree(os.path.dirname(engine.ok("volume", "inspect", "--format", "{{.Mountpoint}}", "gone")))

    engine.ok("volume", "rm", "gone")

    assert "gone" not in engine.ok("volume", "ls", "-q").split()


def test_a_volume_whose_folder_somebody_has_removed_can_be_used(engine):
    engine.ok("volume", "create", "--label", "a=b", "gone")
    shutil.rmtree(os.path.dirname(engine.ok("volume", "inspect", "--format", "{{.Mountpoint}}", "gone")))

    assert (
        engine.ok("run", "--rm", "--network=none", "-v", "gone:/x", "busybox", "sh", "-c", "touch /x/y; ls /x") == "y"
    )
    engine.stop()
    engine.start()
    assert engine.call("GET", "/volumes/gone")[1]["Labels"] == {"a": "b"}
    engine.ok("volume", "rm", "gone")
