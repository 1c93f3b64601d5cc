"""What only docker has, on pyrun as dockerd's default runtime."""

import pytest
from tools import needs

pytestmark = needs("dockerd", "docker", "containerd", "runc", "ip")


@pytest.fixture
def docker(dockers):
    yield dockers["pyrun"]
    dockers["pyrun"].remove("box")


def test_pyrun_is_what_docker_takes_by_itself(docker):
    docker("run", "--detach", "--name", "box", "busybox", "sleep", "60", check=True)

    assert docker("inspect", "--format", "{{.HostConfig.Runtime}}", "box").output == "pyrun\n"


def test_a_published_port_answers(docker, dockerd):
    server = "mkdir /w; echo page >/w/i; exec httpd -f -h /w -p 80"
    docker.run("--detach", "--name", "box", "-p", "127.0.0.1::80", "busybox", "sh", "-c", server, check=True)
    address = docker("port", "box", "80").output.strip()

    assert dockerd.inside("busybox", "wget", "-q", "-O", "-", f"http://{address}/i").output == "page\n"


def test_update_changes_the_limits(docker):
    docker.run("--detach", "--name", "box", "busybox", "sleep", "60", check=True)
    limits = ("--memory", "64m", "--memory-swap", "64m", "--pids-limit", "50", "--cpus", "0.5")
    docker("update", *limits, "box", check=True)

    files = "memory/memory.limit_in_bytes pids/pids.max cpu/cpu.cfs_quota_us"
    result = docker("exec", "box", "sh", "-c", f"cd /sys/fs/cgroup; cat {files}")
    assert result.output == f"{64 << 20}\n50\n50000\n"


def test_build_runs_the_steps_of_a_dockerfile(docker, image, tmp_path):
    (tmp_path / "image.tar").write_bytes(image.read_bytes())
    (tmp_path / "Dockerfile").write_text("FROM scratch\nADD image.tar /\nRUN echo built >/file\nRUN cat /file\n")
    docker.environment["DOCKER_BUILDKIT"] = "0"

    result = docker("build", tmp_path)
    assert result.status == 0
    assert "\nbuilt\n" in result.output
