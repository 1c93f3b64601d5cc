"""A pyrund of which a process kills itself at a point that a test chooses.

It is pyrund's modules with a count of its messages: before each one is sent, and after each one has come, is a point at
which one of the processes can be killed. Before each request to rtnetlink is one, too, and in a worker before each call
that changes names of files or waits for the disk, so that a worker is killed between two parts of its work.
"""

import os
import shutil
from pathlib import Path

import daemon
import pytest

# `fault` says at which point whom to kill; it is there while messages are counted.
COUNTING = """#!/usr/bin/python3 -IS
import sys
sys.path[:0] = ["{modules}"]
import os
from pyrund import messages

DAEMON = os.getpid()

def victims():
    for pid in open(f"/proc/{{DAEMON}}/task/{{DAEMON}}/children").read().split():
        try:
            yield open(f"/proc/{{pid}}/comm").read().strip().partition(":")[2], int(pid)
        except OSError:
            pass  # it was just killed

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

from foundation.linux import os as calls

def counted(name, call):
    def counted_call(*words, **more):
        if os.getpid() not in (DAEMON, *dict(victims()).values()):
            point(f"{{name}} {{words}}"[:200])
        return call(*words, **more)
    return counted_call

for name in ("rename", "link", "mkdir", "fsync", "unlink", "rmdir"):
    setattr(calls, name, counted(name, getattr(calls, name)))

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

    def daemon(self, hub, directory):
        """Start it."""
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(daemon, "PYRUND", str(self.program))
            return daemon.Daemon(hub, directory)

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


def revive(engine):
    """Start the daemon again if it was killed, or is about to end."""
    try:
        engine.call("GET", "/version")
    except (OSError, IndexError):
        engine.process.wait(daemon.PATIENCE)
        engine.start()
