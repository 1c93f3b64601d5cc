"""Each process of the engine is killed at each message between them: nothing of a container is lost, nothing is left.

The daemon under test is pyrund's modules with a count of its messages: before each one is sent, and after each one has
come, is a point at which one of the processes can be killed. Before each request to rtnetlink is one, too, so that a
worker is killed between two parts of its work. By default a few points are tried, all with --full.
"""

import os
import shutil
import subprocess
import time
from pathlib import Path

import daemon
import pytest
from agreement import differences
from daemon import wait_until

LAST = 300
LINES = [f"line {number}" for number in range(1, LAST + 1)]
PROGRAM = f"i=0; while [ $i -lt {LAST} ]; do i=$((i+1)); echo line $i; done; exit 7"
STEADY = "i=0; while true; do i=$((i+1)); echo line $i; sleep 0.01; done"
SERVE = "while true; do echo hello | nc -l -p 80; done"
LOOK = "ip -4 -o addr; echo =; ip route; echo =; cat /etc/hosts; echo =; nslookup -type=a web"
VICTIMS = ("daemon", "launcher", "streams", "worker")
# `fault` says at which point whom to kill; it is there while messages are counted.
COUNTING = """#!/usr/bin/python3 -IS
import sys
sys.path[:0] = ["{modules}"]
import os
from pyrund import messages

DAEMON = os.getpid()

def victims():
    for pid in open(f"/proc/{{DAEMON}}/task/{{DAEMON}}/children").read().split():
        yield open(f"/proc/{{pid}}/comm").read().strip().partition(":")[2], int(pid)

def point(what):
    try:
        at, _, victim = open("{fault}").read().partition(" ")
    except OSError:
        return
    with open("{points}", "a") as file:
        os.lockf(file.fileno(), os.F_LOCK, 0)
        number = file.tell()
        file.write("x")
    if number != int(at):
        return
    try:
        os.unlink("{fault}")
    except FileNotFoundError:
        return  # it was disarmed meanwhile
    known = {{"daemon": DAEMON, **dict(victims())}}
    pid = os.getpid() if victim == "worker" and os.getpid() not in known.values() else known.get(victim)
    if pid:
        with open("{points}.killed", "w") as file:
            file.write(what)
        os.kill(pid, 9)

send, receive = messages.Port.send, messages.Port.receive

def counted_send(self, message, descriptors=()):
    point(f"before {{message}}"[:200])
    send(self, message, descriptors)
    point(f"after {{message}}"[:200])

def counted_receive(self):
    found = receive(self)
    point(f"received {{found[0]}}"[:200])
    return found

messages.Port.send, messages.Port.receive = counted_send, counted_receive

from foundation.linux.netlink import Netlink

ask = Netlink._ask

def counted_ask(self, kind, *more):
    point(f"rtnetlink {{kind}}")
    return ask(self, kind, *more)

Netlink._ask = counted_ask
import pyrund.__main__
"""


class Faults:
    """Where the daemon's program reads whom to kill, and counts."""

    def __init__(self, directory):
        self._fault, self._points = directory / "fault", directory / "points"
        modules = directory / "modules"
        shutil.copytree(daemon.REPOSITORY / "runtime", modules, ignore=shutil.ignore_patterns("__pycache__"))
        self.program = directory / "pyrund"
        self.program.write_text(COUNTING.format(modules=modules, fault=self._fault, points=self._points))
        self.program.chmod(0o755)

    def arm(self, at, victim):
        self._points.write_text("")
        Path(f"{self._points}.killed").unlink(missing_ok=True)
        self._fault.with_suffix(".new").write_text(f"{at} {victim}")
        os.rename(self._fault.with_suffix(".new"), self._fault)

    def disarm(self):
        """Return the number of points, and at which message a process was killed, if one was."""
        self._fault.unlink(missing_ok=True)
        killed = Path(f"{self._points}.killed")
        return self._points.stat().st_size, killed.read_text() if killed.exists() else ""


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture(scope="module")
def engine(hub, faults, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(daemon, "PYRUND", str(faults.program))
        made = daemon.Daemon(hub, tmp_path_factory.mktemp("engine"))
    made.ok("pull", "busybox")
    made.ok("network", "create", "own")
    yield made
    try:
        made.remove_all()
        made.ok("network", "prune", "-f")  # other daemons are in these namespaces after us
    finally:
        made.stop()
    assert made.left_over() == {}


def revive(engine):
    """Start the daemon again if it was killed, or is about to end."""
    try:
        engine.call("GET", "/version")
    except (OSError, IndexError):
        engine.process.wait(daemon.PATIENCE)
        engine.start()


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
        was_started = live(engine)
        _, killed = faults.disarm()
        revive(engine)
        try:
            check(engine, was_started, steady, victim)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{victim} killed at point {at} of {points}: {killed}: {error}") from error


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
    """The container has what inspect says, and nothing else."""
    places = engine.call("GET", "/containers/web/json")[1]["NetworkSettings"]["Networks"]
    assert not done[0] or "other" in places
    assert not done[1] or "own" not in places
    addresses = {one["IPAddress"] for one in places.values()}
    shown = engine.ok("exec", "web", "sh", "-c", LOOK)
    interfaces, routes, hosts, found = (part.strip().splitlines() for part in shown.split("=\n"))
    assert {line.split()[3].partition("/")[0] for line in interfaces if " lo " not in line} == addresses
    defaults = [line.split()[2] for line in routes if line.startswith("default")]
    assert len(defaults) == 1 and defaults[0] in {one["Gateway"] for one in places.values()}
    assert {line.split()[0] for line in hosts if line.startswith(("10.", "172."))} == addresses
    assert {line.split()[-1] for line in found if line.startswith("Address: ")} == addresses
    outside = engine.hub.run("ip", "-o", "link", "show", "type", "veth").stdout.splitlines()
    assert len(outside) == len(places) + 1  # and that of `steady`
    assert engine.hub.run("busybox", "nc", "-w", "5", "127.0.0.1", "8080").stdout == "hello\n"
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
