"""pyrun's own os and os.path have the results of Python's."""

import os as pythons_os
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foundation.linux import os, path

RUNTIME = str(Path(__file__).parents[2] / "runtime")

PATHS = st.text("/.ab\u00e9\udcff", max_size=12)


@given(st.lists(PATHS, min_size=1, max_size=4))
def test_join(parts):
    assert path.join(*parts) == pythons_os.path.join(*parts)


@given(PATHS)
@pytest.mark.parametrize("name", ["abspath", "basename", "dirname", "normpath", "split"])
def test_what_looks_at_the_text_alone(name, text):
    assert getattr(path, name)(text) == getattr(pythons_os.path, name)(text)


@given(PATHS.filter(len), PATHS.filter(len))
def test_a_path_from_another_directory(text, start):
    assert path.relpath(text, start) == pythons_os.path.relpath(text, start)


@pytest.fixture(scope="module")
def directory(tmp_path_factory):
    directory = tmp_path_factory.mktemp("tree")
    (directory / "a/b").mkdir(parents=True)
    (directory / "a/file").touch()
    for name, target in {
        "b": "a/b",
        "up": "a/b/..",
        "far": "/usr/../bin",
        "gone": "nowhere/at/all",
        "it": "it",
    }.items():
        (directory / name).symlink_to(target)
    return directory


RELATIVE = st.lists(st.sampled_from(["a", "b", "up", "far", "gone", "it", "file", "..", ".", "", "\0"]), max_size=5)


@given(RELATIVE)
@pytest.mark.parametrize("name", ["exists", "isdir", "isfile", "islink", "ismount", "lexists"])
def test_what_looks_at_files(directory, name, parts):
    text = "/".join([str(directory), *parts])

    assert getattr(path, name)(text) == getattr(pythons_os.path, name)(text)
    assert getattr(path, name)(os.fsencode(text)) == getattr(pythons_os.path, name)(text)


@given(RELATIVE.filter(lambda parts: "it" not in parts and "\0" not in parts))
def test_the_real_path(directory, parts):
    text = "/".join([str(directory), *parts])

    assert path.realpath(text) == pythons_os.path.realpath(text)


def test_the_real_path_of_a_loop_is_the_path(directory):
    assert path.realpath(f"{directory}/it") == f"{directory}/it"


def test_the_real_path_of_a_relative_one(directory, monkeypatch):
    monkeypatch.chdir(directory)

    assert path.realpath("up/file") == f"{directory}/a/file"


def test_same_files(directory):
    assert path.samefile(f"{directory}/b", f"{directory}/a/b")
    assert not path.samefile(f"{directory}/a", f"{directory}/a/b")


@given(PATHS)
def test_names_as_bytes(text):
    assert os.fsencode(text) == pythons_os.fsencode(text)
    assert os.fsdecode(pythons_os.fsencode(text)) == text
    assert os.fsdecode(text) == text


def test_the_environment():
    program = (
        "import os; from foundation.linux import os as ours; assert ours.environment == dict(os.environ), os.environ"
    )
    environment = {b"PYTHONPATH": RUNTIME.encode(), b"NAME": b"caf\xc3\xa9 \xff"}

    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.parametrize("home", ["/home/a", "/home/a/", "/", "", None])
def test_the_home_directory(home):
    program = "import os; from foundation.linux import os as ours; assert ours.home() == os.path.expanduser('~')"
    environment = {"PYTHONPATH": RUNTIME, **({} if home is None else {"HOME": home})}

    subprocess.run([sys.executable, "-c", program], env=environment, check=True)


@pytest.mark.parametrize("name", ["/", "/proc", "/proc/self", "/dev/shm", "/usr"])
def test_mount_points(name):
    assert path.ismount(name) == pythons_os.path.ismount(name)


def test_directories_are_made_with_their_parents(tmp_path):
    os.makedirs(f"{tmp_path}/a/b/c/", 0o700)

    assert (tmp_path / "a/b/c").stat().st_mode & 0o777 == 0o700
    with pytest.raises(FileExistsError):
        os.makedirs(f"{tmp_path}/a/b/c")
    os.makedirs(f"{tmp_path}/a/b/c", exist_ok=True)
