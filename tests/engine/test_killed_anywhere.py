"""Each process of the engine is killed at each message between them: nothing of a container is lost, nothing is left.

By default a few of the points that killing.py counts are tried, all with --full.
"""

import contextlib
import os
import subprocess
import time

import pytest
from agreement import differences
from daemon import wait_until
from killing import revive

LAST = 300
LINES = [f"line {number}" for number in range(1, LAST + 1)]
PROGRAM = f"i=0; while [ $i -lt {LAST} ]; do i=$((i+1)); echo line $i; done; exit 7"
STEADY = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done"
SERVE = "exec nc -ll -p 80 -e echo hello"
LOOK = "ip -4 -o addr; echo =; ip route; echo =; cat /etc/hosts; echo =; nslookup -type=a web"
VICTIMS = ("daemon", "launcher", "streams", "worker")


@pytest.fixture(scope="module")
def engine(hub, faults, tmp_path_factory):
    made = faults.daemon(hub, tmp_path_factory.mktemp("engine"))
    made.ok("pull", "busybox")
    made.ok("network", "create", "own")
    yield made
    try:
        made.remove_all()
        made.ok("network", "prune", "-f")  # other daemons are in these namespaces after us
    finally:
        made.stop()
    assert made.left_over() == {}


def live(engine):
    """Let a container have a life, whatever happens; return whether it was started, as far as clients know."""
    done = []
    for words in (
        ("run", "-d", "--name", "web", "--network", "own", "-p", "80", "-v", "/x", "busybox", "sh", "-c", PROGRAM),
        ("exec", "steady", "echo", "inside"),
        ("logs", "web"),
        ("run", "--rm", "--network", "none", "busybox", "true"),
    ):
        done.append(engine.docker(*words).returncode)
        revive(engine)
    return done[0] == 0


@pytest.fixture
def steady(engine):
    engine.ok("run", "-d", "--name", "steady", "--network", "own", "busybox", "sh", "-c", STEADY)
    yield engine.inspect("steady", ".State.Pid")
    engine.remove_all()


def check(engine, was_started, pid, victim):
    """Look at the containers after a fault."""
    assert engine.inspect("steady", ".State.Pid") == pid
    assert engine.ok("exec", "steady", "echo", "inside") == "inside"
    check_lines(engine.ok("logs", "steady").splitlines(), victim)
    known = engine.ok("ps", "-a", "--format", "{{.Names}}").split()
    assert not was_started or "web" in known
    if "web" in known:
        if not was_started:  # it is what a failed command may leave: it can be started, and then all is well
            engine.docker("wait", "web")
            engine.ok("start", "web")
        assert engine.ok("wait", "web") == "7"
        about = ("--filter", "event=die", "--filter", f"container={engine.inspect('web', '.Id')}")
        past = ("events", "--since", "1", "--until", f"{time.time():.9f}", "--format", "{{.Actor.Attributes.exitCode}}")
        wait_until(lambda: "7" in engine.ok(*past, *about).split(), "the event of its end")
        lines = engine.ok("logs", "web").splitlines()
        check_lines(lines, victim)
        assert lines[-1] == LINES[-1]
        engine.ok("rm", "-v", "web")
    wait_until(lambda: differences(engine) == {}, "agreement")
    assert os.listdir(engine.run / "published") == []


def check_lines(lines, victim):
    """All lines are there, one after the other. A streams process that is killed may leave lines twice."""
    if victim == "streams":
        lines = list(dict.fromkeys(lines))
    runs = "\n".join(lines).replace("\nline 1\n", "\n\0line 1\n").split("\0")
    for run in runs:  # a container that was started twice has printed twice
        found = run.split()
        numbers = list(map(int, found[1::2]))
        assert numbers == list(range(1, len(numbers) + 1))


@pytest.mark.timeout(7200)
def test_a_process_is_killed_at_any_message(engine, faults, steady, full):
    faults.arm(-1, "nobody")
    assert live(engine)
    points, _ = faults.disarm()
    check(engine, True, steady, "nobody")
    assert points > 50
    tries = [(at, victim) for at in range(points) for victim in VICTIMS]

    for at, victim in tries if full else tries[5 :: len(tries) // 6]:
        faults.arm(at, victim)
        try:
            was_started = live(engine)
            faults.disarm()
            revive(engine)
            check(engine, was_started, steady, victim)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            _, killed = faults.disarm()
            raise AssertionError(f"{victim} killed at point {at} of {points}: {killed}: {error}") from error


def test_a_daemon_that_is_killed_at_any_message_of_an_exec_leaves_no_monitor(engine, faults, steady):
    faults.arm(-1, "nobody")
    engine.ok("exec", "steady", "true")
    points, _ = faults.disarm()

    for at in range(points):
        faults.arm(at, "daemon")
        engine.docker("exec", "steady", "true")
        faults.disarm()
        revive(engine)

    wait_until(lambda: monitors_of_execs(engine) == [], "the end of the monitors")


def monitors_of_execs(engine):
    """Return the pids of the processes that have a record of an exec open."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        with contextlib.suppress(OSError):  # it has just ended
            if os.readlink(f"/proc/{pid}/fd/0").startswith(f"{engine.run}/execs/"):
                found.append(pid)
    return found


def move(engine, faults, at, victim):
    """Let a running container have another network instead of its own; return what clients were told to be done."""
    engine.ok("run", "-d", "--name", "web", "--network", "own", "-p", "8080:80", "busybox", "sh", "-c", SERVE)
    faults.arm(at, victim)
    done = []
    for words in (("connect", "--ip", "10.31.0.9", "other", "web"), ("disconnect", "own", "web")):
        done.append(engine.docker("network", *words).returncode == 0)
        revive(engine)
    return done


def check_move(engine, done):
    """The container has what inspect says, and nothing else: also no network, if the kill came before the other one."""
    places = engine.call("GET", "/containers/web/json")[1]["NetworkSettings"]["Networks"]
    assert not done[0] or "other" in places
    assert not done[1] or "own" not in places
    addresses = {one["IPAddress"] for one in places.values()}
    shown = engine.ok("exec", "web", "sh", "-c", f"{LOOK} || true")  # there is no name server without a network
    interfaces, routes, hosts, found = (part.strip().splitlines() for part in f"{shown}\n".split("=\n"))
    assert {line.split()[3].partition("/")[0] for line in interfaces if " lo " not in line} == addresses
    defaults = [line.split()[2] for line in routes if line.startswith("default")]
    assert len(defaults) == bool(places) and set(defaults) <= {one["Gateway"] for one in places.values()}
    assert {line.split()[0] for line in hosts if line.startswith(("10.", "172."))} == addresses
    assert {line.split()[-1] for line in found if line.startswith("Address: ")} == addresses
    outside = engine.hub.run("ip", "-o", "link", "show", "type", "veth").stdout.splitlines()
    assert len(outside) == len(places) + 1  # and that of `steady`
    answer = engine.hub.run("busybox", "nc", "-w", "5", "127.0.0.1", "8080").stdout
    assert answer == ("hello\n" if places else "")
    engine.ok("rm", "-f", "web")


@pytest.mark.timeout(7200)
def test_a_running_container_is_in_a_network_or_is_not_whoever_is_killed(engine, faults, steady, full):
    engine.ok("network", "create", "--subnet", "10.31.0.0/24", "other")
    done = move(engine, faults, -1, "nobody")
    points, _ = faults.disarm()
    check_move(engine, done)
    assert done == [True, True]
    tries = [(at, victim) for at in range(points) for victim in ("daemon", "launcher", "worker")]

    for at, victim in tries if full else tries[3 :: len(tries) // 8]:
        done = move(engine, faults, at, victim)
        _, killed = faults.disarm()
        revive(engine)
        try:
            check_move(engine, done)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{victim} killed at point {at} of {points}: {killed}: {error}") from error
