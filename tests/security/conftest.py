"""Hostile containers, and what of the host they must leave alone. All of it needs root, and real containers."""

import json
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from harness import BUSYBOX, Bundle, build_with, under_test
from hostile import FOLLOWS_SYMLINKS, Machine, Victim, digests, mounts


def pytest_collection_modifyitems(items):
    for item in items:
        if "security" in item.path.parts:
            item.add_marker(pytest.mark.needs("root", BUSYBOX))
            if item.get_closest_marker("peers") is None:
                item.add_marker(pytest.mark.only_pyrun("it looks at what is pyrun's own"))
            for mark in item.iter_markers("falls"):
                if mark.args[0] == under_test().name:
                    item.add_marker(pytest.mark.xfail(reason=" ".join(mark.args)))


@pytest.fixture
def busybox(directory):
    """A copy of its own, which the bundles of a test link to: a container may write to it."""
    return Path(shutil.copy(BUSYBOX, directory))


@pytest.fixture
def machine(directory):
    machine = Machine(directory / "run")
    yield machine
    machine.clean()


@pytest.fixture(scope="session")
def default_config(tmp_path_factory, runtime):
    directory = tmp_path_factory.mktemp("spec")
    subprocess.run([runtime, "spec", "--bundle", directory], check=True)
    config = json.loads((directory / "config.json").read_text())
    config["process"]["terminal"] = False
    config["root"]["readonly"] = False
    return config


@pytest.fixture
def directory():
    """A directory that a container with a user namespace can reach; pytest's own are 0700."""
    path = Path(tempfile.mkdtemp(prefix="pyrun-attack-", dir="/tmp"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture
def make_bundle(directory, busybox, default_config):
    """Make bundles that have the configuration of `pyrun spec`, and a root file system with nothing but /bin."""
    made = []

    def make_bundle():
        made.append(Bundle(directory / f"bundle-{len(made)}", busybox, default_config, directories=()))
        return made[-1]

    return make_bundle


@pytest.fixture
def bundle(make_bundle):
    return make_bundle()


@pytest.fixture
def victim(directory):
    return Victim(directory / "victim")


@pytest.fixture
def host_mounts():
    """The mounts of the host are, after the test, those before it."""
    before = mounts()
    yield
    assert mounts() == before


@pytest.fixture
def host_programs():
    """The interpreter, each library that it maps, and our programs are, after the test, those before it."""
    before = digests()
    yield
    assert digests() == before


@pytest.fixture
def host(victim, host_mounts, host_programs):
    """The victim, and a check that the host's mounts and programs are, after the test, those before it."""
    return victim


@pytest.fixture(scope="session")
def follows_symlinks(tmp_path_factory):
    """A pyrun that opens paths as runtimes did before openat2(2): by name."""
    return build_with(tmp_path_factory.mktemp("weak"), FOLLOWS_SYMLINKS)
