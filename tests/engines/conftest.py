"""What all tests of the real tools need: root, a built pyrun, an image, and docker and podman on both runtimes."""

import os
import shutil
import subprocess

import pytest
from dockerd import Dockerd
from tools import PYRUN, REPOSITORY, Engine, unmount_below

# A machine without CAP_SYS_RESOURCE cannot raise the limits that podman asks for by itself.
PODMAN_CONFIG = """\
[engine]
runtime_supports_json = ["pyrun", "runc"]
[engine.runtimes]
pyrun = ["{}"]
[containers]
netns = "none"
default_ulimits = ["nofile=1024:1024", "nproc=1024:1024"]
"""


def pytest_collection_modifyitems(items):
    for item in items:
        if "engines" in item.path.parts and os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="a daemon of root's needs root"))


@pytest.fixture(scope="session", autouse=True)
def built():
    if "PYRUN" not in os.environ:
        subprocess.run(["/usr/bin/python3", "build_zipapp.py"], cwd=REPOSITORY, check=True, capture_output=True)


@pytest.fixture(scope="session")
def image(tmp_path_factory):
    """A root file system of busybox as a tar archive, for `import`."""
    busybox = shutil.which("busybox") or pytest.skip("busybox-static is not installed")
    root = tmp_path_factory.mktemp("image")
    for name in ("bin", "etc", "root", "tmp"):
        (root / name).mkdir()
    shutil.copy(busybox, root / "bin/busybox")
    for applet in subprocess.run([busybox, "--list"], capture_output=True, text=True, check=True).stdout.split():
        if applet != "busybox":
            os.symlink("busybox", root / "bin" / applet)
    root.chmod(0o755)
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    archive = root.parent / f"{root.name}.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    return archive


@pytest.fixture(scope="session")
def dockerd(tmp_path_factory, image):
    dockerd = Dockerd(tmp_path_factory.mktemp("docker"))
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
    (directory / "containers.conf").write_text(PODMAN_CONFIG.format(PYRUN))
    environment = {"CONTAINERS_CONF": str(directory / "containers.conf")}
    stores = ("--root", directory / "root", "--runroot", directory / "run")
    options = ("--cgroup-manager", "cgroupfs", "--events-backend", "none", "--log-level", "error")
    podmen = {
        # In its directory, because conmon writes a file `oom` where it is called.
        runtime: Engine("podman", *stores, *options, "--runtime", runtime, environment=environment, directory=directory)
        for runtime in ("pyrun", "runc")
    }
    podmen["pyrun"]("import", image, "busybox", check=True)
    yield podmen
    podmen["pyrun"]("rm", "--all", "--force", "--time", "0")
    podmen["pyrun"]("pod", "rm", "--all", "--force")
    unmount_below(directory)
