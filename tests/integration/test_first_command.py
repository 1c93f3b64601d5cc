"""The README's first command: a container that needs no image, no network, and no privileges."""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import REPOSITORY

pytestmark = [pytest.mark.needs("root"), pytest.mark.only_pyrun("the bundle has no mappings, which runc wants")]

HOST_BUNDLE = REPOSITORY / "spec-fixtures/bundles/host"
NOBODY = ("setpriv", "--reuid", "65534", "--regid", "65534", "--clear-groups", "--inh-caps=-all")
SHOWN = """\
kernel:    Linux .*, the host's own
hostname:  container, the container's own
I am:      pid 1 of [0-9]+, root
network:   lo
mounts:    [0-9]+, of which / is ro
host files: there to read, not to write
"""


@pytest.fixture
def copies(runtime):
    """A directory that everybody can reach, with the runtime and the bundle."""
    directory = Path(tempfile.mkdtemp())
    directory.chmod(0o755)
    shutil.copy(runtime, directory / "pyrun")
    shutil.copytree(HOST_BUNDLE, directory / "bundle", symlinks=True)
    yield directory
    shutil.rmtree(directory)


def run(directory, *user, **environment):
    command = [*user, directory / "pyrun", "run", "-b", directory / "bundle"]
    return subprocess.run(command, capture_output=True, text=True, env={"PATH": os.environ["PATH"], **environment})


def test_root_sees_what_a_container_is(copies):
    result = run(copies)

    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(SHOWN, result.stdout), result.stdout


def test_an_ordinary_user_sees_the_same(copies):
    own = copies / "own"
    own.mkdir()
    # The user's own clone: git keeps no empty directories, so the mount points in it have to be made.
    for path in (own, copies / "bundle", *(copies / "bundle").rglob("*")):
        os.lchown(path, 65534, 65534)

    result = run(copies, *NOBODY, XDG_RUNTIME_DIR=str(own))

    assert (result.returncode, result.stderr) == (0, "")
    assert re.fullmatch(SHOWN, result.stdout), result.stdout
    assert os.listdir(own / "pyrun") == []


def test_an_ordinary_user_without_a_state_directory_learns_how_to_name_one(copies):
    result = run(copies, *NOBODY)

    assert result.returncode == 1
    assert result.stderr.startswith("error: /run/pyrun")
    assert result.stderr.endswith(
        ": Permission denied: set XDG_RUNTIME_DIR, or name a directory of your own by --root\n"
    )
