"""A process of the engine is killed while an image is made, fetched or sent: the next try completes, nothing stays.

By default a few of the points that killing.py counts are tried, all with --full.
"""

import os
import subprocess

import daemon
import pytest
from builds import begin, build, leftovers, run
from daemon import changed_program, wait_until
from images import entry, tar
from killing import revive

SILENT = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
PUSHED = "127.0.0.1:5000/made"
DOCKERFILE = """
FROM busybox
COPY file /copied
RUN echo run > /run-made
"""


@pytest.fixture(scope="module")
def engine(hub, faults, tmp_path_factory):
    """A daemon with busybox, which a container keeps, and a container that has written something."""
    made = faults.daemon(hub, tmp_path_factory.mktemp("engine"))
    made.ok("pull", "busybox")
    made.ok("run", "--name", "writer", "--network=none", "busybox", "sh", "-c", "echo written > /written")
    yield made
    try:
        made.remove_all()
    finally:
        made.stop()
    assert made.left_over() == {}


@pytest.fixture
def context(tmp_path):
    (tmp_path / "Dockerfile").write_text(DOCKERFILE)
    (tmp_path / "file").write_text("copied")
    return tmp_path


class Task:
    """A command for the engine, and the check of what comes of it."""

    def __init__(self, engine, context):
        self._engine, self._context = engine, context

    def prepare(self):
        """Do what each try needs; most need nothing."""


class Build(Task):
    """`docker build`"""

    def begin(self):
        return begin(self._engine, self._context, "-q", "-t", "made", **SILENT)

    def complete(self):
        build(self._engine, self._context, "-q", "-t", "made")
        assert run(self._engine, "made", "cat", "/copied", "/run-made") == "copiedrun"


class Commit(Task):
    """`docker commit`"""

    def begin(self):
        return self._engine.begin("commit", "writer", "made", **SILENT)

    def complete(self):
        self._engine.ok("commit", "writer", "made")
        assert run(self._engine, "made", "cat", "/written") == "written"


class Push(Task):
    """`docker push`, of an image whose layers are not compressed yet"""

    def prepare(self):
        archive = tar(entry("random", data=os.urandom(100_000)))  # the registry has nothing of it
        self._engine.ok("import", "-", PUSHED, input=archive, text=False)

    def begin(self):
        return self._engine.begin("push", PUSHED, **SILENT)

    def complete(self):
        self._engine.ok("push", PUSHED)
        self._engine.ok("rmi", PUSHED)
        self._engine.ok("pull", PUSHED)


class Load(Task):
    """`docker load`"""

    def __init__(self, engine, context):
        super().__init__(engine, context)
        self._archive = context / "archive"
        engine.ok("commit", "writer", "made")
        engine.ok("save", "-o", self._archive, "made")
        engine.ok("rmi", "made")

    def begin(self):
        words = ("load", "-i", self._archive)
        return self._engine.begin(*words, **SILENT)

    def complete(self):
        self._engine.ok("load", "-i", self._archive)
        assert run(self._engine, "made", "cat", "/written") == "written"


def clean(engine):
    """Remove all that no container uses; return the names of what stays."""
    engine.ok("builder", "prune", "-af")
    engine.ok("image", "prune", "-af")
    folders = [engine.data / name for name in ("images", "sizes", "builds")]
    # The engine may still be removing files: os.walk() ignores those that it does not find any more.
    paths = {
        os.path.join(above, name) for folder in folders for above, *lists in os.walk(folder) for name in sum(lists, [])
    }
    made_by_the_first_build = {f"{engine.data}/images/kept", f"{engine.data}/images/locks/index"}
    return paths - made_by_the_first_build


def check_images(engine):
    """Every image that is shown is whole: it can be saved."""
    for one in engine.call("GET", "/images/json?all=1")[1]:
        for name in [one["Id"], *one["RepoTags"]]:
            if name != "<none>:<none>":
                assert engine.docker("save", name, text=False).returncode == 0, name


def check_leftovers(engine, before):
    wait_until(lambda: leftovers(engine)[1] == [], "the removal of the folders of builds")
    wait_until(lambda: clean(engine) == before, f"the removal of all but {before}")


# The launcher, and so the worker, outlives the daemon by a second.
ENDS_AFTER_A_STEP = """
import os, time
from pyrund.messages import Port
from pyrund.process import PORT
send, receive = Port.send, Port.receive
def send_and_end(self, message, descriptors=()):
    send(self, message, descriptors)
    if "exit" in message:
        os.kill(os.getpid(), 9)
def receive_late(self):
    found = receive(self)
    if found[0] is None and self.fileno() == PORT:
        time.sleep(1)
    return found
Port.send, Port.receive = send_and_end, receive_late
"""


def test_a_daemon_that_is_killed_when_a_step_has_ended_leaves_no_container(hub, tmp_path, context, monkeypatch):
    monkeypatch.setattr(daemon, "PYRUND", changed_program(tmp_path, ENDS_AFTER_A_STEP))
    engine = daemon.Daemon(hub, tmp_path / "engine", "--bridge", "own0")
    try:
        engine.ok("pull", "busybox")
        assert begin(engine, context, "--network=none", "-t", "made", **SILENT).wait(30) != 0
        assert engine.process.wait(30) == -9
        engine.start()

        assert leftovers(engine) == ([], [])
    finally:
        engine.stop()


@pytest.mark.timeout(7200)
@pytest.mark.parametrize("task", [Build, Commit, Push, Load], ids=lambda task: task.__name__)
def test_the_next_try_completes_what_was_killed_anywhere(engine, faults, context, full, task):
    work = task(engine, context)
    before = clean(engine)
    work.prepare()
    faults.arm(-1, "nobody")
    assert work.begin().wait(60) == 0
    points, _ = faults.disarm()
    assert points > 10
    work.complete()
    check_leftovers(engine, before)
    tries = [(at, victim) for at in range(points) for victim in ("worker", "daemon", "launcher")]

    kills = 0
    for at, victim in tries if full else tries[1 :: len(tries) // 4]:
        work.prepare()
        faults.arm(at, victim)
        work.begin().wait(60)
        _, killed = faults.disarm()
        kills += bool(killed)
        try:
            revive(engine)
            check_images(engine)
            work.complete()
            check_leftovers(engine, before)
        except (AssertionError, subprocess.TimeoutExpired) as error:
            raise AssertionError(f"{victim} killed at point {at} of {points}: {killed}: {error}") from error
    assert kills > 1
    print(f"{task.__name__}: killed {kills} times")
