"""docker's and podman's own config.json files are valid, know no property that pyrun does not, and run by themselves.

containerd's is in test_containerd.py.
"""

import subprocess
from pathlib import Path

import pytest
from generated import findings, output_without_its_engine
from tools import needs

LIMITS = (
    "--memory",
    "64m",
    "--memory-reservation",
    "32m",
    "--cpus",
    "0.5",
    "--cpu-shares",
    "512",
    "--pids-limit",
    "50",
)
USER = ("--user", "1000:1000", "--group-add", "5", "--cap-drop", "all", "--cap-add", "net_raw", "--workdir", "/tmp")
FILES = (
    "--read-only",
    "--tmpfs",
    "/run:size=1m,noexec",
    "--volume",
    "/etc:/host-etc:ro",
    "--device",
    "/dev/zero:/dev/z",
)
KERNEL = ("--sysctl", "net.ipv4.ip_forward=1", "--ulimit", "core=0:0", "--hostname", "box", "--shm-size", "1m")
HOST = ("--pid", "host", "--ipc", "host", "--network", "host")
BOTH = [(), LIMITS, USER, FILES, ("--privileged",), HOST, ("--security-opt", "seccomp=unconfined")]
NAMES = ["plain", "limits", "user", "files", "privileged", "host", "no seccomp"]


def told(tool, *words):
    """Return what a command prints, ids included, which Result leaves out."""
    command = [*tool.command, *words]
    return subprocess.run(command, env=tool.environment, capture_output=True, text=True, check=True).stdout.strip()


@pytest.fixture
def dockers_config(dockerd):
    """Run a container with options of docker's; return the path of its config.json."""

    def run(*options):
        dockerd.docker("run", "--detach", "--name", "generated", *options, "busybox", "sleep", "1000", check=True)
        id_ = told(dockerd.docker, "inspect", "--format", "{{.Id}}", "generated")
        return next(dockerd.directory.glob(f"exec/containerd/**/{id_}/config.json"))

    yield run
    dockerd.docker("rm", "--force", "generated")


@pytest.fixture
def podmans_config(podmen):
    """The same with podman."""
    podman = podmen["pyrun"]

    def run(*options):
        podman.run("--detach", "--name", "generated", *options, "busybox", "sleep", "1000", check=True)
        return Path(told(podman, "inspect", "--format", "{{.OCIConfigPath}}", "generated"))

    yield run
    podman.remove("generated")


@needs("dockerd", "docker")
@pytest.mark.parametrize("options", [*BOTH, KERNEL, ("--init", "--tty")], ids=[*NAMES, "kernel", "init and terminal"])
def test_dockers_config_is_valid_and_runs(dockers_config, tmp_path, options):
    path = dockers_config(*options)

    assert findings(path) == ([], 0)
    assert output_without_its_engine(path, tmp_path, "echo", "hello") == "hello\n"


@needs("podman")
@pytest.mark.parametrize("options", [*BOTH, ("--systemd", "always", "--tty")], ids=[*NAMES, "systemd and terminal"])
def test_podmans_config_is_valid_and_runs(podmans_config, tmp_path, options):
    path = podmans_config(*options)

    assert findings(path) == ([], 0)
    assert output_without_its_engine(path, tmp_path, "echo", "hello") == "hello\n"
