"""update, events and tmpcopyup, on real containers."""

import json
import os
import shutil
import subprocess
import time
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parents[2]
PYRUN = os.environ.get("PYRUN", str(REPOSITORY / "dist/pyrun"))

pytestmark = pytest.mark.skipif(os.geteuid() != 0 or not shutil.which("busybox"), reason="needs root and busybox")


class Sandbox:
    """A bundle with busybox, a --root of its own, and one container at most."""

    def __init__(self, path):
        self.path = path
        self.id = f"running-{os.getpid()}"
        (path / "rootfs/bin").mkdir(parents=True)
        shutil.copy(shutil.which("busybox"), path / "rootfs/bin/busybox")
        os.symlink("busybox", path / "rootfs/bin/sh")
        self.pyrun("spec", "--bundle", path)
        self.config = json.loads((path / "config.json").read_text())
        self.config["process"].update(terminal=False, rlimits=[])

    def pyrun(self, *arguments, check=True, **options):
        command = [PYRUN, "--root", self.path / "state", *arguments]
        result = subprocess.run(command, capture_output=True, text=True, timeout=20, **options)
        assert "Traceback" not in result.stderr
        assert not check or result.returncode == 0, result.stderr
        return result

    def run(self, *shell, detach=False):
        self.config["process"]["args"] = ["/bin/busybox", "sh", "-c", *shell]
        (self.path / "config.json").write_text(json.dumps(self.config))
        if detach:  # its output goes to files: a container that lives would keep pipes open
            command = [PYRUN, "--root", self.path / "state", "run", "-d", "--bundle", self.path, self.id]
            with open("/dev/null", "r+") as null:
                return subprocess.run(command, stdin=null, stdout=null, stderr=null, check=True, timeout=20)
        return self.pyrun("run", "--bundle", self.path, self.id, check=False)

    def limit(self, controller, name):
        state = json.loads((self.path / "state" / self.id / "state.json").read_text())
        paths = state["cgroupPaths"]
        return Path(paths.get(controller, paths.get("")), name)


@pytest.fixture
def sandbox(tmp_path):
    sandbox = Sandbox(tmp_path)
    yield sandbox
    sandbox.pyrun("delete", "--force", sandbox.id)


@pytest.fixture
def sleeper(sandbox):
    sandbox.config["linux"]["resources"]["memory"] = {"limit": 64 << 20}
    sandbox.run("exec busybox sleep 100", detach=True)
    return sandbox


def test_update_takes_limits_as_options(sleeper):
    sleeper.pyrun("update", "--pids-limit", "7", "--memory=32m", sleeper.id)

    assert sleeper.limit("pids", "pids.max").read_text() == "7\n"


def test_update_takes_resources_from_standard_input(sleeper):
    sleeper.pyrun("update", "--resources=-", sleeper.id, input='{"pids": {"limit": 9}}')

    assert sleeper.limit("pids", "pids.max").read_text() == "9\n"


def test_update_takes_resources_from_a_file(sleeper):
    (sleeper.path / "resources.json").write_text('{"pids": {"limit": 11}}')

    sleeper.pyrun("update", "-r", sleeper.path / "resources.json", sleeper.id)

    assert sleeper.limit("pids", "pids.max").read_text() == "11\n"


def test_update_leaves_the_device_rules_alone(sleeper):
    sleeper.pyrun("update", "--pids-limit", "7", sleeper.id)
    result = sleeper.pyrun("exec", sleeper.id, "/bin/busybox", "sh", "-c", "echo >/dev/null")

    assert result.returncode == 0


@pytest.mark.parametrize("size", ["1x", "m", "", "-2", "1.5.5m", "1kk"])
def test_update_refuses_what_is_no_size(sleeper, size):
    result = sleeper.pyrun("update", f"--memory={size}", sleeper.id, check=False)

    assert result.returncode == 1
    assert f'invalid value "{size}" for flag -memory' in result.stderr


def test_update_refuses_a_stopped_container(sandbox):
    sandbox.run("true", detach=True)
    time.sleep(0.2)

    result = sandbox.pyrun("update", "--pids-limit", "7", sandbox.id, check=False)

    assert "container not running" in result.stderr


def test_events_stats_prints_one_object(sleeper):
    event = json.loads(sleeper.pyrun("events", "--stats", sleeper.id).stdout)

    assert (event["type"], event["id"]) == ("stats", sleeper.id)
    assert event["data"]["pids"]["current"] == 1


def test_events_follow_the_container_to_its_end(sandbox):
    sandbox.run("busybox sleep 1", detach=True)

    output = sandbox.pyrun("events", "--interval=200ms", sandbox.id).stdout
    assert 2 <= len([json.loads(line) for line in output.splitlines()]) <= 6


def test_events_tell_that_memory_ran_out(sandbox):
    sandbox.config["linux"]["resources"]["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    sandbox.run("busybox sleep 0.5; busybox tail /dev/zero; busybox sleep 2", detach=True)

    output = sandbox.pyrun("events", "--interval=1h", sandbox.id).stdout
    assert json.loads(output) == {"type": "oom", "id": sandbox.id}


@pytest.mark.parametrize("interval", ["0s", "5", "s", "x", "1.1.1s", "-1s"])
def test_events_refuse_what_is_no_interval(sandbox, interval):
    result = sandbox.pyrun("events", f"--interval={interval}", sandbox.id, check=False)

    assert result.returncode == 1
    assert "interval" in result.stderr


def _tmpfs(sandbox, *options):
    sandbox.config["mounts"].append(
        {"destination": "/data", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "nodev", *options]}
    )


def _fill(directory):
    (directory / "sub").mkdir(parents=True)
    (directory / "sub/file").write_text("content\n")
    os.chown(directory / "sub/file", 1000, 1001)
    os.chmod(directory / "sub/file", 0o4755)
    os.symlink("/etc/shadow", directory / "link")


def test_tmpcopyup_copies_what_the_image_has(sandbox):
    _fill(sandbox.path / "rootfs/data")
    _tmpfs(sandbox, "tmpcopyup")

    result = sandbox.run("cd /data; busybox cat sub/file; busybox stat -c '%a %u %g' sub/file; busybox readlink link")
    assert result.stdout == "content\n4755 1000 1001\n/etc/shadow\n"


def test_tmpcopyup_leaves_the_image_as_it_is(sandbox):
    _fill(sandbox.path / "rootfs/data")
    _tmpfs(sandbox, "tmpcopyup")

    sandbox.run("echo changed >/data/sub/file")
    assert (sandbox.path / "rootfs/data/sub/file").read_text() == "content\n"


def test_tmpcopyup_fills_a_read_only_tmpfs(sandbox):
    _fill(sandbox.path / "rootfs/data")
    _tmpfs(sandbox, "ro", "tmpcopyup")

    result = sandbox.run("busybox cat /data/sub/file; echo >/data/x")
    assert result.stdout == "content\n"
    assert "Read-only file system" in result.stderr


def test_tmpcopyup_is_refused_for_a_bind(sandbox):
    sandbox.config["mounts"].append(
        {"destination": "/data", "type": "bind", "source": "/tmp", "options": ["bind", "tmpcopyup"]}
    )

    result = sandbox.run("true")
    assert '"tmpcopyup" is for a mount of type "tmpfs"' in result.stderr


def test_a_tmpfs_has_the_mode_of_what_it_covers(sandbox):
    (sandbox.path / "rootfs/data").mkdir(mode=0o750)
    _tmpfs(sandbox)

    assert sandbox.run("busybox stat -c %a /data").stdout == "750\n"


def test_a_tmpfs_that_covers_nothing_is_for_everybody(sandbox):
    _tmpfs(sandbox)

    assert sandbox.run("busybox stat -c %a /data").stdout == "1777\n"
