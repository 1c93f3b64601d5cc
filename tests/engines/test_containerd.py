"""containerd's own command ctr, whose shim calls pyrun as --runc-binary."""

import tarfile

import pytest
from tools import PYRUN, Daemon, Tool, needs, unmount_below, wait_until

pytestmark = needs("containerd", "ctr", "buildah")

IMAGE = "localhost/busybox:latest"
RUN = ("run", "--runtime", "io.containerd.runc.v2", "--runc-binary", PYRUN)
TRAP = 'trap "exit 5" TERM; while :; do sleep 0.1; done'
CONFIG = """\
version = 2
root = "{0}/root"
state = "{0}/state"
disabled_plugins = ["io.containerd.grpc.v1.cri"]
[grpc]
  address = "{0}/s"
"""


@pytest.fixture(scope="module")
def archive(image, tmp_path_factory):
    """The image as an archive that `ctr image import` takes."""
    directory = tmp_path_factory.mktemp("archive")
    stores = ("--root", directory / "root", "--runroot", directory / "run", "--storage-driver", "vfs")
    buildah = Tool("buildah", *stores)
    buildah("from", "--name", "work", "scratch", check=True)
    buildah("add", "work", image, "/", check=True)
    buildah("commit", "work", f"oci-archive:{directory}/image.tar:{IMAGE}", check=True)
    unmount_below(directory)
    assert tarfile.is_tarfile(directory / "image.tar")
    return directory / "image.tar"


@pytest.fixture(scope="module")
def ctr(tmp_path_factory, archive):
    directory = tmp_path_factory.mktemp("containerd")
    (directory / "config.toml").write_text(CONFIG.format(directory))
    ctr = Tool("ctr", "--address", directory / "s")
    daemon = Daemon(
        directory / "log",
        *("containerd", "--config", directory / "config.toml"),
        ready=lambda: (directory / "s").exists() and ctr("version").status == 0,
    )
    ctr("image", "import", archive, check=True)
    yield ctr
    daemon.stop()
    unmount_below(directory)


@pytest.fixture
def running(ctr):
    ctr(*RUN, "--detach", IMAGE, "a", "sh", "-c", TRAP, check=True)
    yield ctr
    ctr("task", "kill", "--signal", "SIGKILL", "a")
    ctr("task", "rm", "--force", "a")
    ctr("container", "rm", "a")


def status(ctr):
    return ctr("task", "ls").output.split()[-1]


def test_run_returns_output_and_status(ctr):
    result = ctr(*RUN, "--rm", IMAGE, "b", "sh", "-c", "echo hi; exit 3")

    assert (result.status, result.output) == (3, "hi\n")


def test_a_missing_program_is_told_in_the_words_of_runc(ctr):
    result = ctr(*RUN, "--rm", IMAGE, "b", "nosuch")

    assert 'exec: "nosuch": executable file not found in $PATH' in result.output


def test_exec_returns_output_and_status(running):
    result = running("task", "exec", "--exec-id", "e", "a", "sh", "-c", "echo hi; exit 6")

    assert (result.status, result.output) == (6, "hi\n")


def test_pause_and_resume(running):
    running("task", "pause", "a", check=True)
    paused = status(running)
    running("task", "resume", "a", check=True)

    assert (paused, status(running)) == ("PAUSED", "RUNNING")


def test_ps_shows_the_processes(running):
    assert running("task", "ps", "a").output.split()[0] == "PID"


def test_kill_sends_the_signal(running):
    running("task", "kill", "--signal", "SIGTERM", "a", check=True)
    wait_until(lambda: status(running) == "STOPPED")

    result = running("task", "rm", "a")
    assert "exit code 5" in result.output
