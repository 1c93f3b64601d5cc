"""What only docker has, on pyrun as dockerd's default runtime."""

import pytest
from harness import REPOSITORY
from tools import Tool, needs

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


@pytest.mark.parametrize("runtime", ["runc", "pyrun"])
def test_a_file_over_a_directory_gets_dockers_hint(dockers, runtime):
    """For which it looks for the kernel's words in what the runtime says."""
    result = dockers[runtime].run("--rm", "--volume", "/etc/hostname:/bin", "busybox", "true")

    assert "Are you trying to mount a directory onto a file (or vice-versa)?" in result.output


def test_the_client_of_pyrund_is_understood_by_dockerd(dockerd):
    client = Tool(REPOSITORY / "dist/pyrund", *dockerd.command[1:])
    done = client("run", "--rm", "--network", "none", "busybox", "sh", "-c", "echo out; echo error >&2; exit 3")
    assert (done.status, done.output) == (3, "out\nerror\n")

    client("run", "--detach", "--name", "box", "--network", "none", "busybox", "sleep", "60", check=True)
    try:
        same = [("ps", "--no-trunc"), ("images",), ("exec", "box", "id", "-u"), ("top", "box", "-o", "args")]
        same += [
            ("logs", "box"),
            ("inspect", "box"),
            ("inspect", "--format", "{{json .State}}", "box"),
            ("stop", "-t", "0", "box"),
        ]
        for words in same:
            for _ in range(5):  # a second may pass between both, and with it "2 seconds ago"
                own, theirs = client(*words), dockerd.docker(*words)
                if own == theirs:
                    break
            assert own == theirs, words
        assert client("wait", "box").output == "137\n"
    finally:
        client("rm", "--force", "box", check=True)
