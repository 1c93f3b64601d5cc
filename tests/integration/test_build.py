"""The file that build_zipapp.py makes: always the same, and working wherever and however it is called."""

import glob
import hashlib
import os
import shutil
import signal
import subprocess
import sys
import zipfile

import pytest
from harness import REPOSITORY, TIMEOUT

pytestmark = pytest.mark.only_pyrun("about the file that build_zipapp.py makes")

VERSIONS = ("3.9", "3.10", "3.11", "3.12", "3.13")


def build(output, *options, source=REPOSITORY):
    command = [sys.executable, source / "build_zipapp.py", "--output", output, *options]
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


@pytest.fixture
def source(tmp_path):
    """A copy of the sources, to be changed."""
    copy = tmp_path / "source"
    shutil.copytree(
        REPOSITORY / "runtime", copy / "runtime", ignore=shutil.ignore_patterns("__pycache__", "*.egg-info")
    )
    shutil.copy(REPOSITORY / "build_zipapp.py", copy)
    return copy


def write_package(directory, **modules):
    directory.mkdir()
    for name, text in {"__init__": "", **modules}.items():
        (directory / f"{name}.py").write_text(text)


def test_two_builds_are_the_same(tmp_path):
    digests = {hashlib.sha256(build(tmp_path / name).read_bytes()).digest() for name in ("one", "two")}

    assert len(digests) == 1


def test_a_build_does_not_depend_on_where_when_and_how(tmp_path, source, built):
    environment = {"PYTHONHASHSEED": "7", "TZ": "Asia/Tokyo", "LC_ALL": "C", "PATH": "/usr/bin"}
    command = [sys.executable, source / "build_zipapp.py", "--output", tmp_path / "out"]
    subprocess.run(command, check=True, capture_output=True, env=environment, umask=0o077, cwd="/", timeout=TIMEOUT)

    assert (tmp_path / "out/pyrun").read_bytes() == built.read_bytes()


def test_a_program_has_in_its_file_the_packages_that_it_imports_and_no_others(tmp_path, source):
    call = "from third.cli import main\n\nmain()\n"
    main = "def main():\n    from words.greeting import TEXT\n    print(TEXT)\n"
    write_package(source / "runtime/third", __main__=call, cli=main, rare="import pyfetch.errors\n")
    write_package(source / "runtime/words", greeting="TEXT = 'hello'\n")
    build(tmp_path, source=source)
    packages = {}
    for program in ("third", "pyrun"):
        names = zipfile.ZipFile(tmp_path / program).namelist()
        packages[program] = {name.partition("/")[0] for name in names if "/" in name}

    assert {"third", "words", "pyfetch"} <= packages["third"]
    assert "pyrun" not in packages["third"]
    assert "pyrun" in packages["pyrun"]
    assert not {"third", "words", "pyfetch", "pack"} & packages["pyrun"]
    assert subprocess.check_output([tmp_path / "third"], text=True, timeout=TIMEOUT) == "hello\n"
    assert subprocess.check_output([sys.executable, tmp_path / "third"], text=True, timeout=TIMEOUT) == "hello\n"


@pytest.mark.parametrize("has_verbs", [False, True])
def test_a_program_whose_file_is_overwritten_while_it_waits_goes_on(tmp_path, source, has_verbs):
    wait = (
        "def wait():\n    print(input(), flush=True)\n    input()\n    from third.rare import TEXT\n    print(TEXT)\n"
    )
    cli = f"def main():\n    from third.{'commands.wait' if has_verbs else 'wait'} import wait\n    wait()\n"
    write_package(source / "runtime/third", __main__="", cli=cli, rare="TEXT = 'hello'\n", wait=wait)
    if has_verbs:
        write_package(source / "runtime/third/commands", wait=wait)
    build(tmp_path, source=source)
    file = tmp_path / "third"
    with subprocess.Popen([file], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as waiting:
        waiting.stdin.write("waiting\n")
        waiting.stdin.flush()
        assert waiting.stdout.readline() == "waiting\n"
        file.write_bytes(bytes(file.stat().st_size))

        assert waiting.communicate("\n", timeout=TIMEOUT) == ("hello\n", None)


def test_the_file_is_executable(built):
    assert built.stat().st_mode & 0o777 == 0o755


@pytest.mark.parametrize("program, verb", [("pyrun", "state"), ("pyrun", "run"), ("pyfetch", "rm")])
def test_a_file_that_is_being_copied_over_is_one_line_and_no_success(tmp_path, built, program, verb):
    whole = built.with_name(program).read_bytes()
    second = whole.index(b"\n") + 1
    third = whole.index(b"\n", second) + 1
    for length in (second, second + 9, third, third + 2, third + 500, third + 9000, len(whole) // 4):
        cut = tmp_path / f"cut-{length}"
        cut.write_bytes(whole[:length])
        cut.chmod(0o755)
        result = subprocess.run([cut, verb, "x"], capture_output=True, text=True, timeout=TIMEOUT, cwd=tmp_path)

        assert result.returncode != 0
        assert len(result.stderr.splitlines()) == 1, result.stderr
        assert "cut short" in result.stderr


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


@pytest.mark.needs("root")
@pytest.mark.parametrize("closed, status, complaint", [("", 0, ""), ("0<&-", 1, "error: /dev/null: No such file")])
def test_a_host_without_dev_null_is_at_most_one_line(built, closed, status, complaint):
    script = f'mount -t tmpfs tmpfs /dev && "{built}" --version {closed}'
    command = ["unshare", "--mount", "sh", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert result.returncode == status
    assert result.stderr.startswith(complaint)
    assert len(result.stderr.splitlines()) == (1 if complaint else 0), result.stderr


def test_too_little_memory_is_one_line(built):
    outputs = []
    for kilobytes in range(12_500, 18_000, 500):
        command = ["sh", "-c", f"ulimit -v {kilobytes} && exec {built} --root /nonexistent list"]
        outputs.append(subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT).stderr)

    assert "error: out of memory\n" in outputs
    # What ends before our code begins is the interpreter's own.
    ours = [text for text in outputs if "Fatal Python error" not in text]
    assert not [text for text in ours if "Traceback" in text or "MemoryError" in text]


@pytest.mark.needs("strace")
def test_an_interrupt_while_it_starts_is_no_traceback(tmp_path, built):
    command = [built, "--root", tmp_path / "none", "list"]
    subprocess.run(["strace", "-qq", "-o", tmp_path / "log", "-e", "trace=read", *command], stderr=subprocess.DEVNULL)
    reads = len((tmp_path / "log").read_text().splitlines())
    for number in range(reads - 2, reads + 1):  # the index, and the code
        inject = ["strace", "-qq", "-o", tmp_path / "log", "-e", f"inject=read:signal=INT:when={number}"]
        result = subprocess.run([*inject, *command], capture_output=True, text=True, timeout=TIMEOUT)

        assert result.stderr in ("error: interrupted\n", "")
        assert result.returncode in (130, -signal.SIGINT)  # strace ends as its child did


@pytest.mark.parametrize("arguments", ["help", "--version", "features", "completion bash", "help run"])
def test_a_reader_that_has_enough_is_no_error(built, arguments):
    script = f'{{ sleep 0.3; "{built}" {arguments}; echo $? >&2; }} | true'
    result = subprocess.run(["sh", "-c", script], capture_output=True, text=True, timeout=TIMEOUT)

    assert result.stderr == "0\n"


def test_a_full_device_on_standard_output_is_an_error(built):
    with open("/dev/full", "w") as full:
        result = subprocess.run([built, "--version"], stdout=full, stderr=subprocess.PIPE, timeout=TIMEOUT)

    assert result.returncode == 1
    assert result.stderr == b"error: standard output: No space left on device\n"
    assert b"Traceback" not in result.stderr


@pytest.mark.parametrize("locale", ["C", "C.UTF-8", "en_US.ISO-8859-1"])
def test_arguments_that_are_no_utf_8_are_errors_like_others(tmp_path, built, locale):
    command = [os.fsencode(built), b"--root", os.fsencode(tmp_path) + b"/\xff\xfe", b"state", b"n\xe9"]
    result = subprocess.run(command, capture_output=True, env={"LC_ALL": locale}, timeout=TIMEOUT)

    assert result.returncode == 1
    assert result.stderr.startswith(rb'error: invalid container id "n\xe9"')  # escaped, for a terminal


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


def test_pip_installs_the_command(tmp_path, source):
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        if (REPOSITORY / name).exists():
            shutil.copy(REPOSITORY / name, source)
    subprocess.run([sys.executable, "-m", "venv", tmp_path / "venv"], check=True, timeout=60)
    install = [tmp_path / "venv/bin/pip", "install", "--quiet", "--disable-pip-version-check", source]
    subprocess.run(install, check=True, timeout=100)

    assert version_of([tmp_path / "venv/bin/pyrun"]).startswith("pyrun version ")
    assert not glob.glob(f"{tmp_path}/venv/lib/python3*/site-packages/pack")
