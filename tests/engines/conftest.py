"""What all tests of the real tools need: root, a built pyrun, an image."""

import os
import shutil
import subprocess

import pytest
from tools import REPOSITORY


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
    (root / "etc/passwd").write_text("root:x:0:0:root:/root:/bin/sh\nnobody:x:65534:65534::/:/bin/sh\n")
    (root / "etc/group").write_text("root:x:0:\n")
    archive = root.parent / f"{root.name}.tar"
    subprocess.run(["tar", "-C", root, "-cf", archive, "."], check=True)
    return archive
