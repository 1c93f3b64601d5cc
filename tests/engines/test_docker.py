"""dockerd with pyrun as its default runtime: and whatever it does on runc must look the same."""

import os
import subprocess
import urllib.request

import pytest
from tools import PYRUN, Daemon, Tool, needs, unmount_below

pytestmark = needs("dockerd", "docker", "containerd", "runc", "ip")

BRIDGE = f"pyr{os.getpid()}"[:15]
ADDRESS = "172.31.77.1/24"
TRAP = 'trap "echo term; exit 7" TERM; echo up; while :; do sleep 0.1; done'

RUNS = (
    ("exits with 0", (), "true"),
    ("exits with 3", (), "exit 3"),
    ("ends by SIGKILL", (), "kill -9 $$"),
    ("ends with 143", (), 'trap "exit 143" TERM; kill -15 $$; sleep 1'),
    ("has a terminal", ("-t",), "tty"),
    ("has a working directory", ("-w", "/some/where"), "pwd"),
    ("has docker's least memory", ("--memory", "6m"), "cat /sys/fs/cgroup/*/memory.limit_in_bytes"),
    ("has other limits", ("--cpus", "0.5", "--pids-limit", "20"), "cat /sys/fs/cgroup/*/pids.max"),
    ("runs out of memory", ("--memory", "16m"), "tail /dev/zero"),
    ("has a read-only root", ("--read-only",), "touch /x"),
    ("has a tmpfs", ("--read-only", "--tmpfs", "/t"), "touch /t/x; stat -c %a /t"),
    ("has a read-only volume", ("-v", "/etc:/v:ro"), "touch /v/x"),
    ("has a slave volume", ("-v", "/etc:/v:rslave"), "test -f /v/passwd"),
    ("has no capability", ("--cap-drop", "all"), "grep Cap /proc/self/status"),
    ("has one more capability", ("--cap-add", "sys_admin"), "grep CapEff /proc/self/status"),
    ("has a user", ("--user", "1000:1001"), "id"),
    ("gets no privileges", ("--security-opt", "no-new-privileges"), "grep NoNew /proc/self/status"),
    ("has no filter", ("--security-opt", "seccomp=unconfined"), "grep Seccomp: /proc/self/status"),
    ("has a filter", (), "grep Seccomp: /proc/self/status"),
    ("has a resource limit", ("--ulimit", "nofile=512:512"), "ulimit -n"),
    ("has a sysctl", ("--sysctl", "net.ipv4.ip_forward=1"), "cat /proc/sys/net/ipv4/ip_forward"),
    ("has an init", ("--init",), "ps -o comm"),
    ("has a device", ("--device", "/dev/null:/dev/other"), "stat -c '%n %t %T' /dev/other"),
    ("has a host name", ("--hostname", "h"), "hostname"),
    ("has a small /dev/shm", ("--shm-size", "1m"), "df /dev/shm"),
    ("is killed first", ("--oom-score-adj", "500"), "cat /proc/self/oom_score_adj"),
    ("is of the host's cgroup", ("--cgroupns", "host"), "true"),
    ("shares the host's namespaces", ("--pid", "host", "--ipc", "host", "--network", "host", "--uts", "host"), "true"),
)


@pytest.fixture(scope="module")
def bridge():
    subprocess.run(["ip", "link", "add", BRIDGE, "type", "bridge"], check=True)
    subprocess.run(["ip", "address", "add", ADDRESS, "dev", BRIDGE], check=True)
    subprocess.run(["ip", "link", "set", BRIDGE, "up"], check=True)
    yield BRIDGE
    subprocess.run(["ip", "link", "delete", BRIDGE], check=True)


@pytest.fixture(scope="module")
def dockerd(tmp_path_factory, bridge, image):
    """The docker command of a daemon that knows both runtimes; pyrun is what it takes by itself."""
    directory = tmp_path_factory.mktemp("docker")
    socket = directory / "s"
    docker = Tool("docker", "--host", f"unix://{socket}")
    options = ("--data-root", directory / "data", "--exec-root", directory / "exec", "--pidfile", directory / "pid")
    runtimes = ("--add-runtime", f"pyrun={PYRUN}", "--default-runtime", "pyrun")
    daemon = Daemon(
        directory / "log",
        *("dockerd", "--host", f"unix://{socket}", "--bridge", bridge, *options, *runtimes),
        ready=lambda: socket.exists() and docker("version").status == 0,
    )
    docker("import", image, "busybox", check=True)
    yield docker
    for container in docker("ps", "--all", "--quiet").output.split():
        docker("rm", "--force", container)
    daemon.stop()
    unmount_below(directory)


@pytest.fixture
def docker(dockerd):
    yield dockerd
    dockerd("rm", "--force", "box")


@pytest.fixture
def running(docker):
    docker("run", "--detach", "--name", "box", "busybox", "sh", "-c", TRAP, check=True)
    return docker


@pytest.mark.parametrize("options, command", [pytest.param(*row[1:], id=row[0].replace(" ", "-")) for row in RUNS])
def test_a_container_does_the_same_as_on_runc(docker, options, command):
    run = ("run", "--rm", *options)
    ours, theirs = (docker(*run, "--runtime", name, "busybox", "sh", "-c", command) for name in ("pyrun", "runc"))

    assert (ours.status, ours.output) == (theirs.status, theirs.output)


@pytest.mark.parametrize(
    "words, status",
    [(("--nosuch", "busybox"), 125), (("busybox", "/etc/passwd"), 126), (("busybox", "nosuch"), 127)],
)
def test_what_cannot_be_run_has_the_exit_code_of_docker(docker, words, status):
    assert docker("run", "--rm", *words).status == status


def test_a_privileged_container_has_the_capabilities_of_the_host(docker):
    result = docker("run", "--rm", "--privileged", "busybox", "sh", "-c", "grep Seccomp: /proc/self/status; ls /dev")

    assert "Seccomp:\t0\n" in result.output
    assert "loop-control" in result.output or len(result.output.split()) > 30


def test_run_reads_standard_input(docker):
    assert docker("run", "--rm", "-i", "busybox", "cat", input="text").output == "text"


def test_a_published_port_answers(docker):
    server = "mkdir /w; echo page >/w/i; exec httpd -f -h /w -p 80"
    docker("run", "--detach", "--name", "box", "-p", "127.0.0.1::80", "busybox", "sh", "-c", server, check=True)
    address = docker("port", "box", "80").output.strip()

    with urllib.request.urlopen(f"http://{address}/i", timeout=10) as answer:
        assert answer.read() == b"page\n"


@pytest.mark.parametrize("command, status", [("exit 9", 9), ("kill -9 $$", 137)])
def test_exec_returns_the_status_of_the_process(running, command, status):
    assert running("exec", "box", "sh", "-c", command).status == status


@pytest.mark.parametrize("program", ["/etc/passwd", "nosuch"])
def test_exec_of_what_cannot_be_run(running, program):
    assert running("exec", "box", program).status == 126


def test_exec_takes_user_directory_and_environment(running):
    result = running("exec", "-u", "65534:65534", "-w", "/tmp", "-e", "A=b", "box", "sh", "-c", "id -u; pwd; echo $A")

    assert result.output == "65534\n/tmp\nb\n"


def test_exec_reads_standard_input(running):
    assert running("exec", "-i", "box", "cat", input="text").output == "text"


def test_stop_lets_the_program_end_by_itself(running):
    running("stop", "box", check=True)

    assert running("wait", "box").output == "7\n"
    assert running("logs", "box").output == "up\nterm\n"


def test_restart_starts_the_program_again(running):
    running("restart", "box", check=True)

    assert running("logs", "box").output == "up\nterm\nup\n"


def test_kill_sends_the_signal(running):
    running("kill", "--signal", "KILL", "box", check=True)

    assert running("wait", "box").output == "137\n"


def test_pause_and_unpause(running):
    running("pause", "box", check=True)
    paused = running("inspect", "--format", "{{.State.Status}}", "box").output
    running("unpause", "box", check=True)

    assert paused == "paused\n"
    assert running("exec", "box", "true").status == 0


def test_update_changes_the_limits(running):
    running("update", "--memory", "64m", "--memory-swap", "64m", "--pids-limit", "50", "box", check=True)

    assert running("exec", "box", "cat", "/sys/fs/cgroup/pids/pids.max").output == "50\n"


def test_stats_know_the_container(running):
    assert running("stats", "--no-stream", "--format", "{{.Name}}", "box").output == "box\n"


def test_top_shows_the_processes(running):
    assert "sleep" in running("top", "box", "-o", "pid,comm").output.split()


def test_cp_copies_both_ways(running, tmp_path):
    (tmp_path / "file").write_text("text")
    running("cp", tmp_path / "file", "box:/tmp/file", check=True)
    running("cp", "box:/tmp/file", tmp_path / "back", check=True)

    assert (tmp_path / "back").read_text() == "text"


def test_containers_share_namespaces(running):
    words = ("--pid", "container:box", "--network", "container:box", "busybox", "ps", "-o", "args")

    assert TRAP in running("run", "--rm", *words).output


def test_build_runs_the_steps_of_a_dockerfile(docker, image, tmp_path):
    (tmp_path / "image.tar").write_bytes(image.read_bytes())
    (tmp_path / "Dockerfile").write_text("FROM scratch\nADD image.tar /\nRUN echo built >/file\nRUN cat /file\n")
    docker.environment["DOCKER_BUILDKIT"] = "0"

    result = docker("build", tmp_path)
    assert result.status == 0
    assert "\nbuilt\n" in result.output
