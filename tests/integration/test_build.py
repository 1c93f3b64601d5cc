"""The file that build_zipapp.py makes: always the same, and working wherever and however it is called."""

import glob
import hashlib
import os
import shutil
import subprocess
import sys

import pytest
from harness import REPOSITORY, TIMEOUT

pytestmark = pytest.mark.only_pyrun("about the file that build_zipapp.py makes")

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def build(output, *options):
    command = [sys.executable, REPOSITORY / "build_zipapp.py", "--output", output, *options]
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)
    return output / "pyrun"


def interpreter(version):
    """Return a CPython of `version`, None where there is none: one of pyenv's, or one on PATH that is no shim."""
    found = glob.glob(os.path.expanduser(f"~/.pyenv/versions/{version}.*/bin/python{version}"))
    candidates = [*found, *(f"{directory}/python{version}" for directory in os.get_exec_path())]
    for path in candidates:
        if (
            os.access(path, os.X_OK)
            and subprocess.run([path, "-IS", "-c", ""], stderr=subprocess.DEVNULL).returncode == 0
        ):
            return path
    return None


def version_of(command, **options):
    options = {"timeout": TIMEOUT, "capture_output": True, **options}
    result = subprocess.run([*command, "--version"], **options)
    assert result.returncode == 0, result.stderr
    return result.stdout.decode()


@pytest.fixture(scope="module")
def built(tmp_path_factory):
    return build(tmp_path_factory.mktemp("built"))


def test_two_builds_are_the_same(tmp_path):
    digests = {hashlib.sha256(build(tmp_path / name).read_bytes()).digest() for name in ("one", "two")}

    assert len(digests) == 1


def test_a_build_does_not_depend_on_where_when_and_how(tmp_path, built):
    copy = tmp_path / "copy"
    shutil.copytree(REPOSITORY / "runtime", copy / "runtime", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(REPOSITORY / "build_zipapp.py", copy)
    environment = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PATH": "/usr/bin"}
    command = [sys.executable, copy / "build_zipapp.py", "--output", tmp_path / "out"]
    subprocess.run(command, check=True, capture_output=True, env=environment, umask=0o077, cwd="/", timeout=TIMEOUT)

    assert (tmp_path / "out/pyrun").read_bytes() == built.read_bytes()


def test_the_file_is_executable(built):
    assert built.stat().st_mode & 0o777 == 0o755


def test_the_interpreter_is_chosen_by_an_option(tmp_path):
    file = build(tmp_path, "--python", sys.executable)

    assert file.read_bytes().startswith(b"#!" + os.fsencode(sys.executable))
    assert f"python: {sys.version.split()[0]}" in version_of([file])


def test_an_interpreter_by_a_relative_path_is_refused(tmp_path):
    command = [sys.executable, REPOSITORY / "build_zipapp.py", "--output", tmp_path, "--python", "python3"]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert result.returncode == 2
    assert "a shebang needs an absolute path" in result.stderr


def test_a_copy_alone_works(tmp_path, built):
    copy = shutil.copy(built, tmp_path / "another-name")

    assert version_of([copy], cwd="/").startswith("pyrun version ")


def test_it_works_from_a_deleted_directory(tmp_path, built):
    directory = tmp_path / "gone"
    directory.mkdir()
    script = f'cd "{directory}" && rmdir "{directory}" && exec "{built}" --version'

    assert version_of(["sh", "-c", script, "sh"]).startswith("pyrun version ")


def test_it_works_with_an_empty_environment(built):
    assert version_of(["/usr/bin/env", "-i", built], env={}).startswith("pyrun version ")


@pytest.mark.parametrize(
    "changes",
    [
        {"LANG": "C", "LC_ALL": "C"},
        {"LC_ALL": "nowhere.NOTHING"},
        {"PYTHONPATH": "/nonexistent"},
        {"PYTHONHOME": "/nonexistent"},
        {"PYTHONSTARTUP": "/nonexistent", "PYTHONINSPECT": "1", "PYTHONVERBOSE": "1", "PYTHONWARNINGS": "error"},
        {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "PYTHONOPTIMIZE": "junk", "PYTHONMALLOC": "debug"},
    ],
    ids=lambda changes: next(iter(changes)),
)
def test_it_works_whatever_the_environment_says(built, changes):
    environment = {name: value for name, value in os.environ.items() if name != "HOME"}

    assert version_of([built], env={**environment, **changes}).startswith("pyrun version ")


def test_a_module_on_pythonpath_is_not_taken(tmp_path, built):
    for name in ("os", "_json", "fcntl", "sitecustomize", "pyrun"):
        (tmp_path / f"{name}.py").write_text("raise SystemExit('taken')")

    assert version_of([built], env={"PYTHONPATH": str(tmp_path)}, cwd=tmp_path).startswith("pyrun version ")


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_do_no_harm(tmp_path, built, closed):
    script = f'"{built}" --root "{tmp_path}/state" delete --force nothing {closed}'
    result = subprocess.run(["sh", "-c", script], timeout=TIMEOUT)

    assert result.returncode == 0


@pytest.mark.needs("root", "/bin/busybox")
def test_a_container_runs_with_closed_standard_streams(container, bundle):
    bundle.process["args"] = ["sh", "-c", "ls /proc/self/fd > /tmp/fds; echo nobody hears; exit 3"]
    bundle.save()
    command = " ".join(container.command("run", "--bundle", bundle.path, container.id))
    result = subprocess.run(["sh", "-c", f"{command} 0<&- 1>&- 2>&-"], timeout=TIMEOUT)

    assert result.returncode == 3
    assert (bundle.rootfs / "tmp/fds").read_text().split()[:3] == ["0", "1", "2"]


def test_a_full_device_on_standard_output_is_an_error(built):
    with open("/dev/full", "w") as full:
        result = subprocess.run([built, "--version"], stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT)

    assert result.returncode == 1
    assert b"No space left on device" in result.stderr
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.ISO-8859-1"])
def test_arguments_that_are_no_utf_8_are_errors_like_others(tmp_path, built, locale):
    command = [os.fsencode(built), b"--root", os.fsencode(tmp_path) + b"/\xff\xfe", b"state", b"n\xe9"]
    result = subprocess.run(command, capture_output=True, env={"LC_ALL": locale}, timeout=TIMEOUT)

    assert result.returncode == 1
    assert result.stderr.startswith(b'error: invalid container id "n\xe9"')


@pytest.mark.needs("root", "/bin/busybox")
@pytest.mark.parametrize("locale", ["C", "C.UTF-8"])
def test_paths_that_are_no_utf_8_work(tmp_path, container, bundle, locale):
    bundle.process["args"] = ["echo", "caf\u00e9"]
    bundle.save()
    moved = os.fsencode(tmp_path) + b"/bundle-\xff\xe9"
    os.rename(bundle.path, moved)
    root = os.fsencode(tmp_path) + b"/state-\xff"
    command = [os.fsencode(container.runtime), b"--root", root, b"run", b"--bundle", moved, container.id.encode()]
    result = subprocess.run(command, capture_output=True, env={"LC_ALL": locale}, timeout=TIMEOUT)
    os.rename(moved, bundle.path)

    assert (result.stdout, result.stderr) == ("caf\u00e9\n".encode(), b"")


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.needs("root", "/bin/busybox")
def test_every_version_runs_the_file_of_the_default_interpreter(tmp_path, container, bundle, version):
    path = interpreter(version)
    if path is None:
        pytest.skip(f"CPython {version} is not on this machine")
    bundle.process["args"] = ["echo", "hello"]
    bundle.save()
    command = [path, "-IS", *container.command("run", "--bundle", bundle.path, container.id)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert (result.stdout, result.stderr) == ("hello\n", "")
    assert f"python: {version}." in version_of([path, "-IS", container.runtime])


@pytest.mark.parametrize("version", VERSIONS)
@pytest.mark.needs("root", "/bin/busybox")
def test_every_version_can_be_the_interpreter_of_the_file(tmp_path, container, bundle, version):
    path = interpreter(version)
    if path is None:
        pytest.skip(f"CPython {version} is not on this machine")
    container.runtime = build(tmp_path / "built", "--python", path)
    bundle.process["args"] = ["cat", "/proc/self/status"]

    assert "Pid:\t1\n" in container.run()
    assert f"python: {version}." in version_of([container.runtime])


def test_pip_installs_the_command(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, source)
    shutil.copytree(REPOSITORY / "runtime", source / "runtime", ignore=shutil.ignore_patterns("*.egg-info"))
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=60)
    install = [tmp_path / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", source]
    subprocess.run(install, check=True, timeout=100)

    assert version_of([tmp_path / "venv/bin/pyrun"]).startswith("pyrun version ")
