"""What a process of the container inherits: no descriptor, no signal, no priority of the runtime or its caller."""

import ctypes
import os
import signal
import subprocess

import pytest
from harness import wait_until
from hostile import HANG

LIST = "ls /proc/self/fd"


@pytest.fixture
def leaked(victim):
    """Descriptors that the caller has open and would hand down: of "/", of a file, of /proc."""
    held = [os.open(path, os.O_RDONLY) for path in ("/", victim.path / "secret", "/proc")]
    numbers = [fcntl_high(fd) for fd in held]
    yield tuple(numbers)
    for fd in (*held, *numbers):
        os.close(fd)


@pytest.mark.peers
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_descriptors_of_the_caller_do_not_reach_the_container(bundle, machine, leaked, verb):
    if verb == "run":
        result = machine.run(bundle, LIST, pass_fds=leaked)
    else:
        result = machine.exec(machine.start(bundle, pass_fds=leaked), "sh", "-c", LIST, pass_fds=leaked)

    assert result.stdout.split() == ["0", "1", "2", "3"]  # 3 is the directory that ls reads


def test_the_waiting_init_holds_the_gate_and_nothing_else(bundle, machine, leaked):
    id_ = machine.create(bundle, "true", pass_fds=leaked)
    directory = f"/proc/{machine.state(id_)['pid']}/fd"

    held = {os.readlink(f"{directory}/{fd}").partition(":")[0] for fd in os.listdir(directory) if int(fd) > 2}

    assert held == {"socket"}


@pytest.mark.peers
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_preserved_descriptors_are_exactly_those_that_were_asked_for(bundle, machine, verb):
    held = [os.open("/dev/null", os.O_RDONLY) for _ in range(3)]

    def place():
        for number, fd in enumerate([fcntl_high(fd) for fd in held], 3):
            os.dup2(fd, number)

    if verb == "run":
        bundle.config["process"]["args"] = ["/bin/sh", "-c", LIST]
        bundle.save()
        words = ["run", "--bundle", bundle.path, "--preserve-fds", "2", machine.new_id()]
    else:
        words = ["exec", "--preserve-fds", "2", machine.start(bundle), "sh", "-c", LIST]
    result = machine.pyrun(*words, close_fds=False, preexec_fn=place)
    for fd in held:
        os.close(fd)

    assert result.stdout.split() == ["0", "1", "2", "3", "4", "5"], result.stderr


def fcntl_high(fd):
    import fcntl

    return fcntl.fcntl(fd, fcntl.F_DUPFD, 100)


def test_sockets_that_are_meant_for_our_caller_are_not_passed_on(bundle, machine, leaked):
    environment = {**os.environ, "LISTEN_FDS": "1", "LISTEN_PID": "1"}

    result = machine.run(bundle, f"{LIST}; echo $LISTEN_FDS", env=environment, pass_fds=leaked)

    assert result.stdout.split() == ["0", "1", "2", "3"]


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&-", "<&- 2>&-", ">&- 2>&-", "<&- >&- 2>&-"])
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_closed_standard_streams_are_the_null_device_in_the_container(bundle, machine, closed, verb):
    show = "echo $(for n in 0 1 2; do readlink /proc/$$/fd/$n; done) >/told"
    (bundle.rootfs / "told").write_text("")
    if verb == "run":
        bundle.config["process"]["args"] = ["/bin/sh", "-c", show]
        bundle.save()
        words = f"run --bundle {bundle.path} {machine.new_id()}"
    else:
        words = f"exec {machine.start(bundle)} sh -c '{show}'"

    subprocess.run(
        f"{machine.program} --root {machine.root} {words} {closed}", shell=True, timeout=HANG, capture_output=True
    )

    told = (bundle.rootfs / "told").read_text().split()
    assert len(told) == 3
    for number, text in enumerate(("<&-", ">&-", "2>&-")):
        if text in closed.split():
            assert told[number] == "/dev/null"


def spoil():
    """Be the worst caller: signals ignored and blocked, a umask, a priority."""
    for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM, signal.SIGCHLD, signal.SIGPIPE, signal.SIGUSR1):
        signal.signal(number, signal.SIG_IGN)
    signal.pthread_sigmask(signal.SIG_SETMASK, signal.valid_signals())
    os.umask(0o777)


@pytest.mark.peers
@pytest.mark.falls("runc", "signals that its caller has blocked or ignored stay so")
@pytest.mark.falls("crun", "signals that its caller has blocked or ignored stay so")
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_process_begins_with_no_signal_ignored_or_blocked(bundle, machine, verb):
    if verb == "run":
        bundle.config["process"]["args"] = ["/bin/grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status"]
        bundle.save()
        result = machine.pyrun("run", "--bundle", bundle.path, machine.new_id(), preexec_fn=spoil)
    else:
        command = ("grep", "-E", "^Sig(Ign|Blk|Cgt)", "/proc/self/status")
        result = machine.exec(machine.start(bundle), *command, preexec_fn=spoil)

    assert {line.split()[1] for line in result.stdout.splitlines()} == {"0" * 16}, result.stderr
    assert len(result.stdout.splitlines()) == 3


def test_the_umask_of_the_config_wins_over_the_callers(bundle, machine):
    bundle.config["process"]["user"]["umask"] = 0o27
    result = machine.run(bundle, "umask", preexec_fn=spoil)

    assert result.stdout == "0027\n"


def test_the_devices_have_their_modes_whatever_the_callers_umask(bundle, machine):
    result = machine.run(bundle, "stat -c %a /dev/null /dev/zero", preexec_fn=lambda: os.umask(0o777))

    assert result.stdout == "666\n666\n", result.stderr


def test_a_container_outlives_the_thread_that_made_it(bundle, machine):
    id_ = machine.start(bundle)

    assert machine.state(id_)["status"] == "running"  # with PR_SET_PDEATHSIG left over it would have been killed


def test_no_terminal_of_the_caller_is_the_controlling_one(bundle, machine):
    result = machine.run(bundle, ": </dev/tty")

    assert result.returncode != 0


NICE, IOPRIO, TIMERSLACK, PERSONALITY, OOM_SCORE = 3, 2 << 13 | 7, 1234567, 0x0040000, 500
# What must be gone, and what is the caller's where the config does not say otherwise, as with runc and crun
CLEAN = {
    "pdeathsig": 0,
    "subreaper": 0,
    "timer": 0,
    "dumpable": 1,
    "owner": 1,
    "keepcaps": 0,
    "securebits": 0,
    "secret": 0,
}
KEPT = {
    "nice": NICE,
    "ioprio": IOPRIO,
    "timerslack": TIMERSLACK,
    "personality": PERSONALITY,
    "oom_score_adj": OOM_SCORE,
}


def spoil_attributes():
    """Be a caller with odd attributes, and with a session keyring that holds a secret."""
    libc = ctypes.CDLL(None, use_errno=True)
    os.nice(NICE)
    ioprio_set, keyctl, add_key = {"x86_64": (251, 250, 248), "aarch64": (30, 219, 217)}[os.uname().machine]
    assert libc.syscall(ioprio_set, 1, 0, IOPRIO) == 0
    assert libc.syscall(keyctl, 1, None) > 0  # KEYCTL_JOIN_SESSION_KEYRING
    assert libc.syscall(add_key, b"user", b"pyrun-secret", b"x", 1, -3) > 0
    for option, value in ((29, TIMERSLACK), (1, signal.SIGURG), (36, 1)):  # PDEATHSIG, CHILD_SUBREAPER
        assert libc.prctl(option, value, 0, 0, 0) == 0
    assert libc.personality(PERSONALITY) >= 0
    signal.setitimer(signal.ITIMER_REAL, 1000)
    with open("/proc/self/oom_score_adj", "w") as file:
        file.write(str(OOM_SCORE))


@pytest.mark.peers
@pytest.mark.falls("crun", "`exec` has the session keyring of its caller")
@pytest.mark.parametrize("way", ["run", "create and start", "exec", "hook"])
def test_attributes_of_the_caller_are_gone_or_those_that_every_runtime_keeps(bundle, machine, compile_attacker, way):
    (bundle.rootfs / "inherited").write_bytes(compile_attacker("inherited").read_bytes())
    (bundle.rootfs / "inherited").chmod(0o755)
    bundle.linux.pop("seccomp", None)
    bundle.process.pop("oomScoreAdj", None)
    bundle.process["args"] = ["/inherited"]
    if way == "hook":
        hook = {"path": "/bin/sh", "args": ["sh", "-c", "/inherited >/shown"]}
        bundle.config["hooks"] = {"startContainer": [hook]}
        bundle.process["args"] = ["/bin/cat", "/shown"]
    bundle.save()
    if way in ("run", "hook"):
        words = ("run", "--bundle", bundle.path, machine.new_id())
        shown = machine.pyrun(*words, preexec_fn=spoil_attributes).stdout
    elif way == "exec":
        shown = machine.exec(machine.start(bundle), "/inherited", preexec_fn=spoil_attributes).stdout
    else:
        id_ = machine.create(bundle, preexec_fn=spoil_attributes)
        machine.pyrun("start", id_)
        wait_until(lambda: machine.state(id_)["status"] == "stopped")
        shown = (bundle.path.parent / f"{id_}.output").read_text()

    assert {name: int(value) for name, value in map(str.split, shown.splitlines())} == {**CLEAN, **KEPT}
