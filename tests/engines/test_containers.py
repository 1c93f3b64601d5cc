"""What docker and podman have in common: on pyrun it must look as it does on runc."""

import json
from pathlib import Path

import pytest
from machine import effective_capabilities
from tools import needs, run_on_both

pytestmark = needs("dockerd", "docker", "containerd", "podman", "conmon", "catatonit", "runc", "ip")

TRAP = 'trap "echo term; exit 7" TERM; echo up; while :; do sleep 0.1; done'

# The capabilities up to CAP_AUDIT_READ: what docker 20.10 means by all of them.
DOCKER_KNOWS = (1 << 38) - 1

# Options of `run`, and the command in the container.
RUNS = (
    ("exits with 0", (), "true"),
    ("exits with 3", (), "exit 3"),
    ("ends by SIGKILL", (), "kill -9 $$"),
    ("ends with 143", (), 'trap "exit 143" TERM; kill -15 $$; sleep 1'),
    ("has a terminal", ("-t",), "tty; echo \\$TERM"),
    ("has a working directory", ("-w", "/some/where"), "pwd"),
    ("has docker's least memory", ("--memory", "6m"), "cat /sys/fs/cgroup/*/memory.limit_in_bytes"),
    ("has other limits", ("--cpus", "0.5", "--pids-limit", "20"), "cd /sys/fs/cgroup; cat pids/pids.max cpu/*quota*"),
    ("runs out of memory", ("--memory", "16m"), "tail /dev/zero"),
    ("has a read-only root", ("--read-only",), "touch /x"),
    ("has a tmpfs", ("--read-only", "--tmpfs", "/t"), "touch /t/x; stat -c %a /t"),
    ("has a tmpfs over a directory", ("--tmpfs", "/etc"), "ls /etc"),
    ("has a read-only volume", ("-v", "/etc:/v:ro"), "touch /v/x"),
    ("has a slave volume", ("-v", "/etc:/v:rslave"), "grep /v /proc/self/mountinfo | grep -o master"),
    ("has no capability", ("--cap-drop", "all"), "grep Cap /proc/self/status"),
    ("has one more capability", ("--cap-add", "sys_admin"), "grep CapEff /proc/self/status"),
    ("has a user", ("--user", "1000:1001"), "id"),
    ("gets no privileges", ("--security-opt", "no-new-privileges"), "grep NoNew /proc/self/status"),
    ("has no filter", ("--security-opt", "seccomp=unconfined"), "grep Seccomp: /proc/self/status"),
    ("has a filter", (), "grep Seccomp: /proc/self/status"),
    ("has resource limits", ("--ulimit", "nofile=512:512", "--ulimit", "nproc=500:500"), "ulimit -n -u"),
    ("has a sysctl", ("--sysctl", "net.ipv4.ip_forward=1"), "cat /proc/sys/net/ipv4/ip_forward"),
    ("has an init", ("--init",), "cat /proc/1/cmdline"),
    ("has a device", ("--device", "/dev/null:/dev/other"), "stat -c '%n %t %T' /dev/other"),
    ("has a host name", ("--hostname", "h"), "hostname"),
    ("has a small /dev/shm", ("--shm-size", "1m"), "df /dev/shm"),
    ("is killed first", ("--oom-score-adj", "500"), "cat /proc/self/oom_score_adj"),
    ("is of the host's cgroup", ("--cgroupns", "host"), "readlink /proc/self/ns/cgroup"),
    ("has a cgroup of its own", ("--cgroupns", "private"), "cat /proc/self/cgroup"),
    ("sees the host's processes", ("--pid", "host"), "readlink /proc/1/ns/pid; readlink /proc/self/ns/pid"),
    ("shares the host's IPC", ("--ipc", "host"), "readlink /proc/self/ns/ipc"),
    ("shares the host's names", ("--uts", "host"), "readlink /proc/self/ns/uts"),
    ("shares the host's network", ("--network", "host"), "readlink /proc/self/ns/net"),
    ("has an environment", ("-e", "A=b", "--env", "HOME=/h"), "env | sort | grep -v HOSTNAME"),
)


@pytest.fixture(params=["docker", "podman"])
def engines(request):
    return request.getfixturevalue({"docker": "dockers", "podman": "podmen"}[request.param])


@pytest.fixture
def engine(engines):
    yield engines["pyrun"]
    engines["pyrun"].remove("box")


@pytest.fixture
def running(engine):
    engine.run("--detach", "--name", "box", "busybox", "sh", "-c", TRAP, check=True)
    return engine


@pytest.mark.parametrize("options, command", [pytest.param(*row[1:], id=row[0].replace(" ", "-")) for row in RUNS])
def test_a_container_does_the_same_as_on_runc(engines, options, command):
    ours, theirs = run_on_both(engines, *options, "busybox", "sh", "-c", command)

    assert ours == theirs


@pytest.mark.parametrize(
    "words, status",
    [(("--nosuch", "busybox"), 125), (("busybox", "/etc/passwd"), 126), (("busybox", "nosuch"), 127)],
)
def test_what_cannot_be_run_has_the_exit_code_of_the_engine(engine, words, status):
    assert engine.run("--rm", *words).status == status


def test_a_privileged_container_has_the_capabilities_and_devices_of_the_host(engine):
    command = "grep -e CapEff -e Seccomp: /proc/self/status; ls /dev"
    output = engine.run("--rm", "--privileged", "busybox", "sh", "-c", command, check=True).output.splitlines()

    assert output[1] == "Seccomp:\t0"
    assert int(output[0].split()[1], 16) & DOCKER_KNOWS == effective_capabilities() & DOCKER_KNOWS
    assert {path.name for path in Path("/dev").iterdir() if path.is_block_device()} <= set(output)


def test_a_file_says_which_calls_are_denied(engine, tmp_path):
    calls = [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}]
    (tmp_path / "seccomp.json").write_text(json.dumps({"defaultAction": "SCMP_ACT_ALLOW", "syscalls": calls}))

    result = engine.run("--rm", "--security-opt", f"seccomp={tmp_path}/seccomp.json", "busybox", "mkdir", "/x")
    assert (result.status, "Operation not permitted" in result.output) == (1, True)


def test_run_reads_standard_input(engine):
    assert engine.run("--rm", "-i", "busybox", "cat", input="text").output == "text"


def test_create_then_start_attached(engine):
    engine.create("--name", "box", "busybox", "sh", "-c", "echo b; exit 5", check=True)

    result = engine("start", "--attach", "box")
    assert (result.status, result.output) == (5, "b\n")


def test_attach_shows_what_the_container_writes(engine):
    engine.run("--detach", "--name", "box", "busybox", "sh", "-c", "sleep 1; echo late; exit 4", check=True)

    assert engine("attach", "box").output.strip() == "late"
    assert engine("wait", "box").output == "4\n"


@pytest.mark.parametrize("command, status", [("exit 9", 9), ("kill -9 $$", 137)])
def test_exec_returns_the_status_of_the_process(running, command, status):
    assert running("exec", "box", "sh", "-c", command).status == status


@pytest.mark.parametrize("program, status", [("/etc/passwd", (126,)), ("nosuch", (126, 127))])
def test_exec_of_what_cannot_be_run(running, program, status):
    assert running("exec", "box", program).status in status


def test_exec_takes_user_directory_and_environment(running):
    result = running("exec", "-u", "65534:65534", "-w", "/tmp", "-e", "A=b", "box", "sh", "-c", "id -u; pwd; echo $A")

    assert result.output == "65534\n/tmp\nb\n"


def test_exec_has_a_terminal(running):
    assert running("exec", "-t", "box", "tty").output.strip() == "/dev/pts/0"


def test_exec_reads_standard_input(running):
    assert running("exec", "-i", "box", "cat", input="text").output == "text"


def test_exec_goes_on_in_the_background(running):
    running("exec", "-d", "box", "touch", "/tmp/done", check=True)
    running("exec", "box", "sh", "-c", "until test -e /tmp/done; do sleep 0.1; done", check=True)


def test_stop_lets_the_program_end_by_itself(running):
    running("stop", "box", check=True)

    assert running("wait", "box").output == "7\n"
    assert running("logs", "box").output == "up\nterm\n"


def test_a_stopped_container_starts_again(running):
    running("stop", "box", check=True)
    running("start", "box", check=True)

    assert running("inspect", "--format", "{{.State.Status}}", "box").output == "running\n"


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


def test_stats_count_the_processes_as_on_runc(engines):
    # Not a number to be known here: it is 0 where the machine has a hierarchy of cgroup v1 that is nowhere mounted.
    counts = []
    for engine in engines.values():
        engine.run("--detach", "--name", "box", "busybox", "sleep", "60", check=True)
        counts.append(engine("stats", "--no-stream", "--format", "{{.Name}} {{.PIDs}}", "box"))
        engine.remove("box")

    assert counts[0] == counts[1]


def test_top_shows_the_processes(running):
    assert "sh" in running("top", "box", "-o", "pid,comm").output.split()


def test_cp_copies_both_ways(running, tmp_path):
    (tmp_path / "file").write_text("text")
    running("cp", tmp_path / "file", "box:/tmp/file", check=True)
    running("cp", "box:/tmp/file", tmp_path / "back", check=True)

    assert (tmp_path / "back").read_text() == "text"


@pytest.mark.parametrize("option, namespace", [("--pid", "pid"), ("--ipc", "ipc"), ("--network", "net")])
def test_a_container_joins_a_namespace_of_another(engine, option, namespace):
    show = ("readlink", f"/proc/self/ns/{namespace}")
    engine.run("--detach", "--name", "box", "--ipc", "shareable", "busybox", "sleep", "60", check=True)
    theirs = engine("exec", "box", *show, check=True)

    assert engine.run("--rm", option, "container:box", "busybox", *show) == theirs
