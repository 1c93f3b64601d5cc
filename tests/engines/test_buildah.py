"""buildah on pyrun."""

import pytest
from tools import PYRUN, Tool, needs, unmount_below

pytestmark = needs("buildah")

ISOLATION = ("--runtime", PYRUN, "--isolation", "oci", "--network", "none")


@pytest.fixture
def buildah(tmp_path):
    stores = ("--root", tmp_path / "root", "--runroot", tmp_path / "run")
    yield Tool("buildah", *stores, "--storage-driver", "vfs")
    unmount_below(tmp_path)


def test_run_returns_output_and_status(buildah, image):
    buildah("from", "--name", "work", "scratch", check=True)
    buildah("add", "work", image, "/", check=True)
    result = buildah("run", *ISOLATION, "work", "sh", "-c", "echo hi; exit 4")
    buildah("rm", "work", check=True)

    assert result.status == 4
    assert result.output.startswith("hi\n")


def test_bud_runs_the_steps_of_a_dockerfile(buildah, image, tmp_path):
    context = tmp_path / "context"
    context.mkdir()
    (context / "image.tar").write_bytes(image.read_bytes())
    (context / "Dockerfile").write_text("FROM scratch\nADD image.tar /\nRUN echo built >/file\nRUN cat /file\n")
    limits = ("--ulimit", "nofile=1024:1024", "--ulimit", "nproc=1024:1024")

    result = buildah("bud", *ISOLATION, *limits, context)
    assert result.status == 0
    assert "\nbuilt\n" in result.output
