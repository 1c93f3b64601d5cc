"""Hostile containers, and what of the host they must leave alone. All of it needs root, and real containers."""

import copy
import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path

import pytest
from hostile import PYRUN, Bundle, Machine, Victim, mounts


def pytest_collection_modifyitems(items):
    for item in items:
        if os.geteuid() != 0:
            item.add_marker(pytest.mark.skip(reason="attacks on a runtime of root need root"))


@pytest.fixture(scope="session")
def busybox():
    found = shutil.which("busybox")
    if not found:
        pytest.skip("busybox-static is not installed")
    return found


@pytest.fixture(scope="session")
def compile_attacker(tmp_path_factory):
    """Compile attackers/NAME.c into a static program."""
    directory = tmp_path_factory.mktemp("attackers")

    def compile_attacker(name):
        program = directory / name
        if not program.exists():
            if not shutil.which("gcc"):
                pytest.skip("gcc is not installed")
            source = Path(__file__).parent / "attackers" / f"{name}.c"
            subprocess.run(["gcc", "-O1", "-static", "-o", program, source], check=True)
        return program

    return compile_attacker


@pytest.fixture
def machine(directory):
    machine = Machine(directory / "run")
    yield machine
    machine.clean()


@pytest.fixture(scope="session")
def default_config(tmp_path_factory, built):
    directory = tmp_path_factory.mktemp("spec")
    subprocess.run([PYRUN, "spec", "--bundle", directory], check=True)
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
    count = 0

    def make_bundle():
        nonlocal count
        count += 1
        return Bundle(directory / f"bundle-{count}", busybox, copy.deepcopy(default_config))

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
