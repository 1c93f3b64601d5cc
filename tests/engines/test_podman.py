"""podman, by conmon, on pyrun: and whatever it does on runc must look the same."""

import shutil

import pytest
from tools import PYRUN, Tool, needs, unmount_below

pytestmark = needs("podman", "conmon", "runc")

# A machine without CAP_SYS_RESOURCE cannot raise the limits that podman asks for by itself.
RUN = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024", "--network", "none")
TRAP = 'trap "echo term; exit 7" TERM; echo up; while :; do sleep 0.1; done'

# Options of `run`, and the command in the container.
RUNS = (
    ("exits with 0", (), "true"),
    ("exits with 3", (), "exit 3"),
    ("ends by SIGKILL", (), "kill -9 $$"),
    ("ends by SIGTERM", (), "trap - TERM; (sleep 0.1; kill -15 $$) & exec sleep 5"),
    ("has a terminal", ("-t",), "tty"),
    ("has a working directory", ("-w", "/some/where"), "pwd"),
    ("has limits", ("--memory", "16m", "--pids-limit", "20"), "cat /sys/fs/cgroup/*/memory.limit_in_bytes"),
    ("has a read-only root", ("--read-only",), "touch /x"),
    ("has a tmpfs", ("--read-only", "--tmpfs", "/t"), "touch /t/x; stat -c %a /t"),
    ("has a tmpfs over a directory", ("--tmpfs", "/etc"), "ls /etc"),
    ("has no capability", ("--cap-drop", "all"), "grep Cap /proc/self/status"),
    ("has one more capability", ("--cap-add", "sys_admin"), "grep CapEff /proc/self/status"),
    ("has a user", ("--user", "1000:1001"), "id"),
    ("gets no privileges", ("--security-opt", "no-new-privileges"), "grep NoNew /proc/self/status"),
    ("has a sysctl", ("--sysctl", "net.ipv4.ip_forward=1"), "cat /proc/sys/net/ipv4/ip_forward"),
    ("has a host name", ("--hostname", "h"), "hostname"),
    ("has a small /dev/shm", ("--shm-size", "1m"), "df /dev/shm"),
    ("has a device", ("--device", "/dev/null:/dev/other"), "stat -c '%n %t %T' /dev/other"),
    ("has a user namespace", ("--uidmap", "0:100000:5000"), "cat /proc/self/uid_map"),
    ("sees the host's processes", ("--pid", "host"), "test -d /proc/1"),
    ("shares the host's IPC", ("--ipc", "host"), "true"),
    ("is killed first", ("--oom-score-adj", "500"), "cat /proc/self/oom_score_adj"),
    ("is of the host's cgroup", ("--cgroupns", "host"), "true"),
)


class Podman(Tool):
    def run(self, *words):
        return self("run", *RUN, *words)


@pytest.fixture(scope="module")
def podmen(tmp_path_factory, image):
    """podman on pyrun and podman on runc, each with a store of its own."""
    found = {}
    directories = []
    for name, runtime in (("pyrun", PYRUN), ("runc", shutil.which("runc"))):
        directory = tmp_path_factory.mktemp(name)
        directories.append(directory)
        stores = ("--root", directory / "root", "--runroot", directory / "run")
        options = ("--cgroup-manager", "cgroupfs", "--events-backend", "none", "--log-level", "error")
        found[name] = Podman("podman", *stores, *options, "--runtime", runtime)
        found[name]("import", image, "busybox", check=True)
    yield found
    for podman in found.values():
        podman("rm", "--all", "--force", "--time", "0")
        podman("pod", "rm", "--all", "--force")
    for directory in directories:
        unmount_below(directory)


@pytest.fixture
def podman(podmen):
    podman = podmen["pyrun"]
    yield podman
    podman("rm", "--all", "--force", "--time", "0")


@pytest.fixture
def running(podman):
    podman.run("--detach", "--name", "a", "busybox", "sh", "-c", TRAP)
    return podman


@pytest.mark.parametrize("options, command", [pytest.param(*row[1:], id=row[0].replace(" ", "-")) for row in RUNS])
def test_a_container_does_the_same_as_on_runc(podmen, options, command):
    ours, theirs = (podmen[name].run("--rm", *options, "busybox", "sh", "-c", command) for name in ("pyrun", "runc"))

    assert (ours.status, ours.output) == (theirs.status, theirs.output)


@pytest.mark.parametrize(
    "words, status",
    [(("--nosuch", "busybox"), 125), (("busybox", "/etc/passwd"), 126), (("busybox", "nosuch"), 127)],
)
def test_what_cannot_be_run_has_the_exit_code_of_podman(podman, words, status):
    assert podman.run("--rm", *words).status == status


@pytest.mark.parametrize("command, status", [("exit 9", 9), ("kill -9 $$", 137)])
def test_exec_returns_the_status_of_the_process(running, command, status):
    assert running("exec", "a", "sh", "-c", command).status == status


@pytest.mark.parametrize("program, status", [("/etc/passwd", 126), ("nosuch", 127)])
def test_exec_of_what_cannot_be_run(running, program, status):
    assert running("exec", "a", program).status == status


def test_exec_takes_user_directory_and_environment(running):
    result = running("exec", "-u", "65534:65534", "-w", "/tmp", "-e", "A=b", "a", "sh", "-c", "id -u; pwd; echo $A")

    assert result.output == "65534\n/tmp\nb\n"


def test_exec_has_a_terminal(running):
    assert running("exec", "-t", "a", "tty").output == "/dev/pts/0\n"


def test_exec_reads_standard_input(running):
    assert running("exec", "-i", "a", "cat", input="text").output == "text"


def test_stop_lets_the_program_end_by_itself(running):
    running("stop", "a", check=True)

    assert running("wait", "a").output == "7\n"
    assert running("logs", "a").output == "up\nterm\n"


def test_a_stopped_container_starts_again(running):
    running("stop", "a", check=True)
    running("start", "a", check=True)

    assert running("inspect", "--format", "{{.State.Status}}", "a").output == "running\n"


def test_kill_sends_the_signal(running):
    running("kill", "--signal", "KILL", "a", check=True)

    assert running("wait", "a").output == "137\n"


def test_pause_and_unpause(running):
    running("pause", "a", check=True)
    paused = running("inspect", "--format", "{{.State.Status}}", "a").output
    running("unpause", "a", check=True)

    assert paused == "paused\n"
    assert running("exec", "a", "true").status == 0


def test_top_shows_the_processes(running):
    assert "sh" in running("top", "a", "comm").output.split()


def test_create_then_start_attached(podman):
    podman("create", "--name", "b", *RUN, "busybox", "sh", "-c", "echo b; exit 5", check=True)

    result = podman("start", "--attach", "b")
    assert (result.status, result.output) == (5, "b\n")


def test_attach_shows_what_the_container_writes(podman):
    podman.run("--detach", "--name", "b", "busybox", "sh", "-c", "sleep 1; echo late; exit 4")

    assert podman("attach", "b").output.strip() == "late"
    assert podman("wait", "b").output == "4\n"


def test_containers_share_namespaces(running):
    words = ("--pid", "container:a", "--network", "container:a", "--ipc", "container:a", "busybox", "ps", "-o", "args")
    result = running("run", "--rm", *RUN[:4], *words)

    assert TRAP in result.output


def test_a_pod_shares_its_namespaces(podman):
    podman("pod", "create", "--name", "p", "--infra=false", check=True)
    result = podman("run", "--rm", "--pod", "p", *RUN, "busybox", "echo", "in")
    podman("pod", "rm", "--force", "p", check=True)

    assert result.output == "in\n"
