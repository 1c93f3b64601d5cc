"""A registry with a few images, and daemons. Needs root, docker.io, docker-registry, skopeo and busybox-static."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [HERE, os.path.join(os.path.dirname(HERE), "registry")]

from beside_dockerd import Dockerd  # noqa: E402
from daemon import DOCKER, Daemon, Hub  # noqa: E402
from hello import hello  # noqa: E402
from images import Image, busybox_layer, directory, symlink, tar  # noqa: E402
from killing import Faults  # noqa: E402

TOOLS = ("docker-registry", "skopeo", "busybox")
APPLETS = (
    "cat dd echo env false grep head hostname id ip kill ls md5sum mkdir mount nc nslookup ps printf pwd rm seq sh "
    "sleep stat stty touch tr true tty uname wc"
).split()


def pytest_collection_modifyitems(items):
    lacking = [tool for tool in TOOLS if not shutil.which(tool)] + ([] if DOCKER else ["docker"])
    why = f"not installed: {' '.join(lacking)}" if lacking else "an engine of root's needs root"
    for item in items:
        if Path(HERE) in item.path.parents and (lacking or os.geteuid() != 0):
            item.add_marker(pytest.mark.skip(reason=why))


def applets_layer():
    """Return a layer with the names of busybox that the tests use, over that of busybox itself."""
    return tar(*(symlink(f"bin/{name}", "busybox") for name in APPLETS), directory("var"), directory("etc"))


@pytest.fixture(scope="session")
def hub(tmp_path_factory):
    made = Hub(tmp_path_factory.mktemp("hub"))
    busybox = Image(busybox_layer(), applets_layer(), config={"Cmd": ["sh"], "Env": ["PATH=/bin", "FROM=image"]})
    made.push(busybox, "busybox:latest")
    made.push(hello("Hello from Docker!"), "hello-world:latest")
    yield made
    made.stop()


@pytest.fixture(scope="module")
def engine(hub, tmp_path_factory):
    """A daemon with busybox in its store, for all tests of a file."""
    yield from serve(hub, tmp_path_factory.mktemp("engine"), "busybox")


@pytest.fixture(scope="module")
def serve_engine(hub, tmp_path_factory):
    """Return what serves a daemon with `options`, for all tests of a file that needs them."""
    return lambda *options: serve(hub, tmp_path_factory.mktemp("engine"), "busybox", options=options)


@pytest.fixture(scope="module")
def dockerd(hub, engine, tmp_path_factory):
    if not shutil.which("dockerd"):
        pytest.skip("dockerd is not installed")
    folder = tmp_path_factory.mktemp("dockerd")
    made = Dockerd(hub, folder)
    made.docker("load", input=engine.docker("save", "busybox", text=False).stdout)
    yield made
    made.stop()
    subprocess.run(["rm", "-rf", folder], check=True)


@pytest.fixture(scope="module")
def faults(tmp_path_factory):
    return Faults(tmp_path_factory.mktemp("faults"))


@pytest.fixture
def own_engine(hub, tmp_path):
    """A daemon of the test's own, with busybox in its store; that of the file may have the default bridge."""
    yield from serve(hub, tmp_path, "busybox", options=("--bridge", "own0"))


@pytest.fixture
def empty_engine(hub, tmp_path):
    """A daemon of the test's own, with an empty store."""
    yield from serve(hub, tmp_path, options=("--bridge", "own0"))


def serve(hub, directory, *images, options=()):
    daemon = Daemon(hub, directory, *options)
    try:
        for image in images:
            daemon.ok("pull", image)
        yield daemon
        daemon.remove_all()
        daemon.ok("network", "prune", "-f")  # their bridges are in namespaces that other daemons use too
    finally:
        daemon.stop()
        if options[:1] == ("--bridge",):  # it would have the subnet that the default bridge of the next daemon gets
            hub.run("ip", "link", "del", options[1])
    assert daemon.left_over() == {}
    log = daemon.log.read_text()
    assert "Traceback" not in log, log
    subprocess.run(["rm", "-rf", directory], check=True)


@pytest.fixture
def removed(engine):
    """Remove the containers that a test leaves in the file's daemon."""
    yield
    engine.remove_all()
