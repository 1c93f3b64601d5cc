"""Making the directories of a cgroup, on an ordinary file system."""

import os
import subprocess

import pytest

from pyrun.cgroup.creation import create

DEEP = "a/" * 1500 + "container"


@pytest.fixture
def hierarchy(tmp_path):
    yield tmp_path
    subprocess.run(["rm", "-r", tmp_path / "a"], check=True)  # deeper than pytest itself could remove


def test_a_path_of_a_thousand_parts_is_made_like_a_short_one(hierarchy):
    made = []
    create("memory", f"{hierarchy}/{DEEP}", made)

    assert len(made) == 1501
    assert os.path.isdir(f"{hierarchy}/{DEEP}")


def test_a_cpuset_of_a_thousand_parts_gets_its_cpus_from_the_top(hierarchy):
    directory = str(hierarchy)
    for part in DEEP.split("/"):
        directory += f"/{part}"
        os.mkdir(directory)
        for name in ("cpuset.cpus", "cpuset.mems"):
            open(f"{directory}/{name}", "x").close()
    for name in ("cpuset.cpus", "cpuset.mems"):
        (hierarchy / name).write_text("0-1")

    create("cpuset", f"{hierarchy}/{DEEP}", [])

    assert (hierarchy / DEEP / "cpuset.cpus").read_text() == "0-1"
    assert (hierarchy / "a/cpuset.mems").read_text() == "0-1"
