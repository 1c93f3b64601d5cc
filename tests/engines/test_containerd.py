"""containerd's own command ctr, whose shim calls pyrun as --runc-binary."""

import os
import tarfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import criu
import pytest
from generated import findings, output_without_its_engine
from harness import cgroups_named, mounts_below
from tools import PYRUN, Daemon, Tool, needs, readme, unmount_below, wait_until

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


class Containerd:
    """A daemon in `directory`."""

    def __init__(self, directory):
        self.directory = directory
        (directory / "config.toml").write_text(CONFIG.format(directory))
        self.ctr = Tool("ctr", "--address", directory / "s")
        self.daemon = Daemon(
            directory / "log",
            *("containerd", "--config", directory / "config.toml"),
            ready=lambda: (directory / "s").exists() and self.ctr("version").status == 0,
        )

    def holdings(self, name):
        """Return all that there is of containers with `name` in theirs, by kind, with the daemon's descriptors."""
        return {
            "containers": [id_ for id_ in self.ctr("container", "ls", "-q").output.split() if name in id_],
            "mounts": [path for path in mounts_below(self.directory) if name in path],
            "cgroups": cgroups_named(name),
            "states": [path for path in Path("/run/containerd/runc/default").glob(f"*{name}*")],
            "processes": [pid for pid in os.listdir("/proc") if pid.isdigit() and name in command_line(pid)],
            "descriptors": [fd for fd in self.descriptors() if name in fd],
        }

    def descriptors(self):
        found = []
        for fd in Path(f"/proc/{self.daemon.pid}/fd").iterdir():
            try:
                found.append(os.readlink(fd))
            except FileNotFoundError:
                pass  # closed meanwhile
        return found


def command_line(pid):
    try:
        return Path(f"/proc/{pid}/cmdline").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return ""  # ended meanwhile


@pytest.fixture(scope="module")
def containerd(tmp_path_factory, archive):
    containerd = Containerd(tmp_path_factory.mktemp("containerd"))
    containerd.ctr("image", "import", archive, check=True)
    yield containerd
    containerd.daemon.stop()
    unmount_below(containerd.directory)


@pytest.fixture(scope="module")
def ctr(containerd):
    return containerd.ctr


@pytest.fixture
def running(ctr):
    ctr(*RUN, "--detach", IMAGE, "a", "sh", "-c", TRAP, check=True)
    yield ctr
    ctr("task", "kill", "--signal", "SIGKILL", "a")
    ctr("task", "rm", "--force", "a")
    ctr("container", "rm", "a")


def status(ctr):
    return ctr("task", "ls").output.split()[-1]


def test_the_readme_s_configuration_for_kubernetes_is_taken(tmp_path):
    (tmp_path / "config.toml").write_text(readme("containerd/config.toml"))
    result = Tool("containerd", "--config", tmp_path / "config.toml")("config", "dump")

    assert result.status == 0
    assert "BinaryName = RUNTIME" in result.output


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


def test_metrics_are_those_of_runc(running):
    running("run", "--detach", IMAGE, "theirs", "sleep", "60", check=True)
    ours, theirs = (running("task", "metrics", name) for name in ("a", "theirs"))
    running("task", "rm", "--force", "theirs", check=True)
    running("container", "rm", "theirs", check=True)

    assert (ours.status, names(ours)) == (theirs.status, names(theirs))


@pytest.mark.needs("criu")
def test_a_task_goes_on_from_a_checkpoint(ctr, tmp_path):
    pyrun = tmp_path / "pyrun"
    pyrun.write_text(f'#!/bin/sh\nexec {PYRUN} --criu {criu.directory()}/criu "$@"\n')
    pyrun.chmod(0o755)
    script = "i=0; while :; do i=$((i+1)); echo $i >/new; mv /new /i; sleep 0.05; done"
    run = ("run", "--runtime", "io.containerd.runc.v2", "--runc-binary", pyrun, "--detach")
    try:
        ctr(*run, IMAGE, "first", "sh", "-c", script, check=True)
        wait_until(lambda: reached(ctr, "first") > 3)
        ctr("container", "checkpoint", "--task", "--rw", "first", "image-of-first", check=True)
        then = reached(ctr, "first")
        ctr("task", "checkpoint", "--exit", "--image-path", tmp_path / "image", "first", check=True)
        wait_until(lambda: status(ctr) == "STOPPED")
        ctr("task", "rm", "first")
        ctr("container", "rm", "first", check=True)
        ctr("container", "restore", "--live", "--rw", "second", "image-of-first", check=True)
        wait_until(lambda: reached(ctr, "second") > then)
    finally:
        for name in ("first", "second"):
            ctr("task", "rm", "--force", name)
            ctr("container", "rm", name)

    assert (tmp_path / "image/inventory.img").exists()


def reached(ctr, name):
    result = ctr("task", "exec", "--exec-id", "reached", name, "cat", "/i")
    # After a checkpoint it can be empty: files are copied a moment after the processes, perhaps a new one just then.
    return int(result.output or 0) if result.status == 0 else 0


def names(metrics):
    return [word for word in metrics.output.split() if word.startswith(("memory.", "cpu", "pids."))]


@pytest.mark.timeout(1200)
def test_nothing_is_left_of_containers_made_in_a_row(containerd, full):
    run_once(containerd.ctr, "row-first")
    before = len(containerd.descriptors())
    for number in range(500 if full else 15):
        run_once(containerd.ctr, f"row-{number}")

    assert not any(containerd.holdings("row-").values()), containerd.holdings("row-")
    assert len(containerd.descriptors()) <= before + 2


@pytest.mark.timeout(600)
def test_nothing_is_left_of_containers_made_at_once(containerd, full):
    count = 50 if full else 8
    with ThreadPoolExecutor(count) as pool:
        results = list(pool.map(lambda number: run_once(containerd.ctr, f"crowd-{number}"), range(count)))

    assert {repr(result) for result in results} == {"= 4\nhere\n"}
    assert not any(containerd.holdings("crowd-").values()), containerd.holdings("crowd-")


def run_once(ctr, name):
    return ctr(*RUN, "--rm", IMAGE, name, "sh", "-c", "echo here; exit 4")


@pytest.mark.parametrize(
    "options",
    [
        (),
        ("--privileged", "--net-host"),
        ("--memory-limit", "67108864", "--cpus", "0.5", "--read-only"),
        ("--seccomp",),
    ],
    ids=["plain", "privileged", "limits", "seccomp"],
)
def test_containerds_config_is_valid_and_runs(containerd, tmp_path, options):
    containerd.ctr(*RUN, "--detach", *options, IMAGE, "config", "sleep", "1000", check=True)
    try:
        path = next((containerd.directory / "state").glob("**/config/config.json"))

        assert findings(path) == ([], 0)
        assert output_without_its_engine(path, tmp_path, "echo", "hello") == "hello\n"
    finally:
        containerd.ctr("task", "rm", "--force", "config")
        containerd.ctr("container", "rm", "config")
