"""The units of doc/engine.md under a real systemd: that of a virtual machine, with which all that is made here goes."""

import json
import os
import re
import subprocess
from pathlib import Path

import pytest
from conftest import APPLETS
from daemon import DOCKER, PYRUND, REPOSITORY, wait_until

pytestmark = pytest.mark.needs("systemd", "cgroup v2 alone", "/run/vmrun")

UID = 4321


def units(heading):
    """Return the text of the first block of code with units after `heading`."""
    text = (REPOSITORY / "doc/engine.md").read_text().partition(heading)[2]
    return re.sub(r"(?m)^    ", "", re.search(r"(?m)(^    \[Unit\]\n(?:    .*\n|\n(?=    ))*)", text)[1])


class Engine:
    """An engine that systemd starts; `prefix` lets a command run as its user."""

    def __init__(self, socket, *prefix):
        self._prefix = prefix
        self._client = [DOCKER, "--host", f"unix://{socket}"]

    def run(self, *words):
        done = subprocess.run([*self._prefix, *map(str, words)], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, (words, done.stdout, done.stderr)
        return done.stdout.strip()

    def docker(self, *words):
        return self.run(*self._client, *words)

    def begin_container(self, *options):
        self.docker("run", "-d", "--name", "web", "--network", "none", *options, "box", "sleep", "1000")
        return self.docker("inspect", "--format", "{{.State.Pid}}", "web")


@pytest.fixture(scope="module")
def archive(tmp_path_factory):
    """The root of an image. Layers are on tmpfs: the machine's own file system is an overlay, which can hold none."""
    root = tmp_path_factory.mktemp("root")
    (root / "bin").mkdir()
    subprocess.run(["cp", "/bin/busybox", root / "bin"], check=True)
    for name in APPLETS:
        (root / "bin" / name).symlink_to("busybox")
    subprocess.run(["tar", "-C", root, "-cf", "/tmp/box.tar", "."], check=True)
    os.chmod("/tmp/box.tar", 0o644)
    return "/tmp/box.tar"


@pytest.fixture(scope="module")
def program():
    subprocess.run(["cp", PYRUND, "/usr/local/bin/pyrund"], check=True)


@pytest.fixture
def system(archive, program):
    """root's engine, with pyrund.service and pyrund.socket."""
    service, _, socket = units("Under systemd,").partition("# pyrund.socket\n")
    Path("/etc/systemd/system/pyrund.service").write_text(service)
    Path("/etc/systemd/system/pyrund.socket").write_text(socket)
    Path("/etc/docker").mkdir(exist_ok=True)
    Path("/etc/docker/daemon.json").write_text(json.dumps({"data-root": "/tmp/data"}))
    engine = Engine("/run/docker.sock")
    engine.run("systemctl", "daemon-reload")
    engine.run("systemctl", "start", "pyrund.socket")
    yield engine
    engine.docker("rm", "-f", "web")
    engine.run("systemctl", "stop", "pyrund.socket", "pyrund.service")


@pytest.fixture
def user_s(archive, program):
    """The engine of a user who has a systemd."""
    home, runtime = Path("/home/somebody"), f"/run/user/{UID}"
    subprocess.run(["useradd", "-m", "-u", str(UID), "somebody"], check=True)
    services = [f"user-runtime-dir@{UID}.service", f"user@{UID}.service"]
    subprocess.run(["systemctl", "start", *services], check=True, timeout=60)
    os.chmod("/dev/net/tun", 0o666)  # as it is with udev
    for path in (".config/systemd/user", ".config/docker", ".local/bin"):
        (home / path).mkdir(parents=True)
    (home / ".config/systemd/user/pyrund.service").write_text(units("As a service,"))
    (home / ".config/docker/daemon.json").write_text(json.dumps({"data-root": "/tmp/data-of-somebody"}))
    (home / ".local/bin/pyrund").symlink_to("/usr/local/bin/pyrund")
    os.mkdir("/tmp/data-of-somebody")
    subprocess.run(["chown", "-R", f"{UID}:{UID}", home, "/tmp/data-of-somebody"], check=True)
    ids = ["--reuid", str(UID), "--regid", str(UID), "--clear-groups"]
    engine = Engine(f"{runtime}/docker.sock", "setpriv", *ids, "env", f"HOME={home}", f"XDG_RUNTIME_DIR={runtime}")
    engine.run("systemctl", "--user", "daemon-reload")
    engine.run("systemctl", "--user", "start", "pyrund")
    yield engine
    engine.docker("rm", "-f", "web")
    engine.run("systemctl", "--user", "stop", "pyrund")


def test_the_first_client_of_the_socket_starts_the_engine_which_leaves_containers_running(system, archive):
    assert subprocess.run(["systemctl", "is-active", "pyrund.service"], stdout=-1, text=True).stdout == "inactive\n"
    system.docker("import", archive, "box")
    assert system.run("systemctl", "is-active", "pyrund.service") == "active"
    assert system.run("stat", "-c", "%U:%G %a", "/run/docker.sock") == "root:docker 660"
    pid = system.begin_container()

    system.run("systemctl", "restart", "pyrund.service")
    assert system.docker("inspect", "--format", "{{.State.Pid}}", "web") == pid
    system.run("systemctl", "stop", "pyrund.service")
    assert os.path.exists(f"/proc/{pid}")
    assert system.docker("ps", "--format", "{{.Names}}") == "web"


def test_a_user_s_containers_have_limits_by_his_systemd_and_outlive_the_engine(user_s, archive):
    user_s.docker("import", archive, "box")
    pid = user_s.begin_container("--memory", "64m", "--pids-limit", "20")
    path = Path(f"/proc/{pid}/cgroup").read_text().strip().partition("::")[2]
    cgroup = Path(f"/sys/fs/cgroup{path}")

    assert f"/user@{UID}.service/user.slice/docker-" in path
    assert [(cgroup / name).read_text() for name in ("memory.max", "pids.max")] == [f"{64 << 20}\n", "20\n"]
    assert user_s.docker("info", "--format", "{{.CgroupDriver}}") == "systemd"
    user_s.docker("update", "--pids-limit", "30", "web")
    assert (cgroup / "pids.max").read_text() == "30\n"
    user_s.docker("pause", "web")
    assert "frozen 1" in (cgroup / "cgroup.events").read_text()
    user_s.docker("unpause", "web")
    assert "64MiB" in user_s.docker("stats", "--no-stream", "--format", "{{.MemUsage}}", "web")
    user_s.run("systemctl", "--user", "restart", "pyrund")
    assert user_s.docker("inspect", "--format", "{{.State.Pid}}", "web") == pid
    user_s.docker("exec", "web", "true")
    user_s.docker("kill", "web")
    wait_until(lambda: not cgroup.exists(), "the end of its cgroup")

    # From a login session, in whose cgroup we are as it were, the user may not move processes himself.
    user_s.run("systemctl", "--user", "stop", "pyrund")
    user_s.run("pyrund", "start", "web")
    user_s.run("pyrund", "exec", "web", "true")
    assert (cgroup / "memory.max").read_text() == f"{64 << 20}\n"
