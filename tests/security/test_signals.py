"""Signals at random moments of commands: nothing is half-made, nothing is orphaned, the terminal is as it was.

The counts are printed (-rP shows them).
"""

import fcntl
import json
import os
import random
import signal
import subprocess
import termios
import time

import pytest
from harness import cgroups_named, wait_until
from hostile import HANG
from test_ends_and_signals import group_is_gone

pytestmark = pytest.mark.timeout(3600)

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGTSTP]
MAKES = ("create", "run", "run -d", "run -t")


def take_terminal():
    fcntl.ioctl(0, termios.TIOCSCTTY, 0)


class Command:
    """A command in a process group of its own, perhaps with a terminal."""

    def __init__(self, words, has_terminal, errors):
        self.master, self.slave = os.openpty() if has_terminal else (-1, -1)
        self.mode = termios.tcgetattr(self.slave) if has_terminal else None
        stream = self.slave if has_terminal else subprocess.DEVNULL
        self.errors = errors
        with open(errors, "wb") as file:
            self.process = subprocess.Popen(
                words,
                stdin=stream,
                stdout=stream,
                stderr=file,
                start_new_session=True,
                preexec_fn=take_terminal if has_terminal else None,
            )

    def signal(self, number, group):
        try:
            (os.killpg if group else os.kill)(self.process.pid, number)
        except ProcessLookupError:
            pass  # it has ended

    def end(self, group):
        """Continue it if it was stopped, and return (status, whether its terminal is as it was)."""
        self.signal(signal.SIGCONT, group)
        status = self.process.wait(HANG)
        wait_until(lambda: group_is_gone(self.process.pid), "its group has gone")
        if self.master < 0:
            return status, True
        restored = termios.tcgetattr(self.slave) == self.mode
        os.close(self.slave)
        os.close(self.master)
        return status, restored


@pytest.fixture
def words(bundle, machine):
    """Return the words of a verb, with the id of its container."""
    sleeping = []

    def words(verb, id_):
        bundle.process["terminal"] = verb == "run -t"
        bundle.process["args"] = ["/bin/sleep", "0.1" if verb in ("run", "run -t") else "1000"]
        if not verb.startswith("exec"):
            bundle.save()
            options = ["--detach"] if verb == "run -d" else []
            return machine.command(verb.split()[0], *options, "--bundle", bundle.path, id_), id_
        if not sleeping:
            sleeping.append(machine.start(bundle))
        options = {"exec -d": ["--detach"], "exec -t": ["--tty"]}.get(verb, [])
        command = ["sleep", "1000" if verb == "exec -d" else "0.1"]
        return machine.command("exec", *options, sleeping[0], *command), sleeping[0]

    return words


def seconds(machine, words, verb, directory):
    """Return how long the command takes by itself."""
    line, id_ = words
    start = time.monotonic()
    assert Command(line, verb.endswith("-t"), directory / "errors").end(group=False) == (0, True)
    taken = time.monotonic() - start
    (assert_whole_or_gone if verb in MAKES else assert_whole_or_ended)(machine, id_, verb, 0, verb)
    return taken


def pids(machine, id_):
    return json.loads(machine.pyrun("ps", "--format", "json", id_).stdout)


@pytest.mark.parametrize("verb", [*MAKES, "exec", "exec -d", "exec -t"])
def test_a_signal_at_any_moment_leaves_nothing_half_made(machine, directory, words, full, verb):
    choose = random.Random(verb)
    ended = {"done": 0, "undone": 0}
    longest = seconds(machine, words(verb, machine.new_id()), verb, directory) * 1.2  # a part comes when all is done
    rounds = 600 if full else 15
    for round_ in range(rounds):
        number, group, times = SIGNALS[round_ % len(SIGNALS)], choose.random() < 0.5, choose.choice([1, 2])
        line, id_ = words(verb, machine.new_id())
        command = Command(line, verb.endswith("-t"), directory / "errors")
        time.sleep(longest * (round_ + choose.random()) / rounds)
        for _ in range(times):
            command.signal(number, group)
        status, restored = command.end(group)
        errors = (directory / "errors").read_text()
        what = f"{verb}, {times} times {number.name} to {'the group' if group else 'it'}: {status}: {errors}"

        assert restored, what
        # ^C in the interpreter's own first milliseconds is not ours to catch.
        assert "Traceback" not in errors or "pyrun" not in errors, what
        if verb in MAKES:
            assert_whole_or_gone(machine, id_, verb, status, what)
        else:
            assert_whole_or_ended(machine, id_, verb, status, what)
        ended["done" if status == 0 else "undone"] += 1

    print(f"{verb}: {sum(ended.values())} signals: {ended}")
    assert all(ended.values())


def assert_whole_or_gone(machine, id_, verb, status, what):
    if status == 0 and verb in ("create", "run -d"):
        assert machine.state(id_)["status"] == ("created" if verb == "create" else "running"), what
        assert machine.pyrun("delete", "--force", id_).returncode == 0, what
    assert not os.path.exists(f"{machine.root}/{id_}"), what
    assert cgroups_named(id_) == [], what


def assert_whole_or_ended(machine, id_, verb, status, what):
    expected = 2 if verb == "exec -d" and status == 0 else 1
    inside = pids(machine, id_)
    assert len(inside) == expected, f"{what}: {inside}"
    if expected == 2:
        init = machine.state(id_)["pid"]
        (other,) = set(inside) - {init}
        os.kill(other, signal.SIGKILL)
        wait_until(lambda: pids(machine, id_) == [init], "the process has ended")
