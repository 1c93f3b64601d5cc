"""A pull of what the store has loads no slow module: scripts run it before each container."""

import pytest
from images import Image, directory, tar
from startup import SLOW, modules_of


@pytest.fixture
def slow_modules(pyfetch):
    """Run pyfetch, which must succeed, and return the slow modules that this has loaded."""

    def slow_modules(*arguments):
        status, output, modules = modules_of(*arguments, program="pyfetch", env=pyfetch.environment)
        assert status == 0, output
        assert "pyfetch.commands.pull" in modules
        return SLOW & modules

    return slow_modules


@pytest.fixture
def image(pyfetch):
    """The path of a layout whose image is in the store."""
    image = Image(tar(directory("etc"), "etc/a"), tar("etc/b"), config={"Env": ["PATH=/bin"], "Volumes": {"/v": {}}})
    image.write_layout(str(pyfetch.folder / "layout"), "localhost/test:1")
    pyfetch.ok(f"oci:{pyfetch.folder}/layout", pyfetch.folder / "first")
    return image


def test_a_pull_by_digest_from_the_store_loads_nothing_slow(pyfetch, image, slow_modules):
    name = f"localhost/test@{image.digest}"

    assert slow_modules("--overlay", name, pyfetch.folder / "new") == set()
    assert slow_modules("--quiet", name, pyfetch.folder / "new") == set(), "of a bundle that is there"
    assert (pyfetch.folder / "new/rootfs/etc/b").read_text() == "etc/b"


def test_a_pull_by_tag_from_the_store_loads_nothing_slow(pyfetch, image, slow_modules):
    assert slow_modules("--overlay", "--pull", "missing", "localhost/test:1", pyfetch.folder / "new") == set()


def test_a_pull_that_has_to_unpack_does_load_slow_modules(pyfetch, image, slow_modules):
    assert slow_modules("--copy", f"localhost/test@{image.digest}", pyfetch.folder / "new") >= {"os", "threading"}
