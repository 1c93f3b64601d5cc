"""checkpoint and restore as engines call them, beside runc where that can do the same."""

import os

import criu
import pytest
from tools import needs, wait_until

pytestmark = [needs("podman", "conmon", "dockerd", "docker", "containerd", "runc", "ip"), pytest.mark.needs("criu")]

COUNT = "i=0; while :; do i=$((i+1)); echo $i >/tmp/new; mv /tmp/new /tmp/i; sleep 0.05; done"


@pytest.fixture
def criu_in_path(podmen):
    path = f"{criu.directory()}:{os.environ['PATH']}"
    before = [(podman, dict(podman.environment)) for podman in podmen.values()]
    for podman, _ in before:
        podman.environment["PATH"] = path
    yield
    for podman, environment in before:
        podman.remove("--all")
        podman.environment = environment


def reached(podman, name):
    result = podman("exec", name, "cat", "/tmp/i")
    return int(result.output) if result.status == 0 else 0


@pytest.mark.parametrize(
    ("runtime", "options"),
    [
        ("pyrun", ("--tty",)),
        ("pyrun", ("--memory", "64m", "--read-only", "--tmpfs", "/tmp")),
        ("runc", ()),
    ],
)
def test_podman_lets_a_container_go_on_where_it_was(podmen, criu_in_path, runtime, options):
    podman = podmen[runtime]
    podman.run("--detach", "--name", "box", *options, "busybox", "sh", "-c", COUNT, check=True)
    wait_until(lambda: reached(podman, "box") > 3)
    podman("container", "checkpoint", "box", check=True)
    status = podman("inspect", "--format", "{{.State.Status}}", "box").output
    podman("container", "restore", "box", check=True)
    first = reached(podman, "box")

    assert status == "exited\n"
    assert first > 3
    wait_until(lambda: reached(podman, "box") > first)


def test_podman_brings_a_container_to_life_again_from_an_archive(podmen, criu_in_path, tmp_path):
    podman = podmen["pyrun"]
    # Files of a tmpfs are those of the checkpoint's moment. podman takes the others when the container goes on already.
    podman.run("--detach", "--name", "box", "--tmpfs", "/tmp", "busybox", "sh", "-c", COUNT, check=True)
    wait_until(lambda: reached(podman, "box") > 3)
    podman("container", "checkpoint", "--leave-running", "--export", tmp_path / "box.tar.zst", "box", check=True)
    then = reached(podman, "box")
    podman("container", "restore", "--import", tmp_path / "box.tar.zst", "--name", "twin", check=True)

    wait_until(lambda: min(reached(podman, name) for name in ("box", "twin")) > then)


@pytest.mark.parametrize("runtime", ["pyrun", "runc"])
def test_docker_starts_a_container_from_a_checkpoint_with_its_network(dockers, runtime):
    docker = dockers[runtime]
    docker.run("--detach", "--name", "box", "busybox", "sh", "-c", COUNT, check=True)
    try:
        wait_until(lambda: reached(docker, "box") > 3)
        docker("checkpoint", "create", "box", "one", check=True)
        wait_until(lambda: docker("inspect", "--format", "{{.State.Status}}", "box").output == "exited\n")
        # "content ...: already exists", until containerd has swept what `checkpoint create` had put there.
        wait_until(lambda: docker("start", "--checkpoint", "one", "box").status == 0)
        first = reached(docker, "box")

        assert first > 3
        wait_until(lambda: reached(docker, "box") > first)
        assert "eth0" in docker("exec", "box", "ip", "addr").output
    finally:
        docker.remove("box")
