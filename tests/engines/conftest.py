"""What all tests of the real tools need: root, a built pyrun, an image, and docker and podman on both runtimes."""

import os
import shutil
import tempfile
from pathlib import Path

import criu
import pytest
from dockerd import Dockerd
from image import make_image
from podman import podman_on
from tools import PYRUN, unmount_below


def pytest_collection_modifyitems(items):
    for item in items:
        if "engines" in item.path.parts and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="a daemon of root's needs root"))


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    if not shutil.which("busybox"):
        pytest.skip("busybox-static is not installed")
    return make_image(tmp_path_factory.mktemp("image"))


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory, image):
    # `docker checkpoint` is one of its experimental commands.
    path = f"{criu.directory()}:{os.environ['PATH']}"
    dockerd = Dockerd(tmp_path_factory.mktemp("docker"), "--experimental", before=("env", f"PATH={path}"))
    dockerd.docker("import", image, "busybox", check=True)
    yield dockerd
    dockerd.stop()


@pytest.fixture(scope="session")
def dockers(dockerd):
    """docker on pyrun and docker on runc, by one daemon."""
    return {runtime: dockerd.on(runtime) for runtime in ("pyrun", "runc")}


@pytest.fixture(scope="session")
def podmen(tmp_path_factory, image):
    """podman on pyrun and podman on runc, in one store."""
    directory = tmp_path_factory.mktemp("podman")
    run = Path(tempfile.mkdtemp(prefix="podman-"))  # not in the directory: podman wants at most 50 characters
    options = ("--root", directory / "root", "--runroot", run, "--log-level", "error")
    podmen = {runtime: podman_on(directory, PYRUN, runtime, *options) for runtime in ("pyrun", "runc")}
    podmen["pyrun"]("import", image, "busybox", check=True)
    yield podmen
    podmen["pyrun"]("rm", "--all", "--force", "--time", "0")
    podmen["pyrun"]("pod", "rm", "--all", "--force")
    for folder in (run, directory):
        unmount_below(folder)
    shutil.rmtree(run)
