"""Fixtures and marks of all tests.

RUNTIME names the runtime under test, by default the dist/pyrun that build_zipapp.py makes; runc and crun can take its
place in tests/integration.
"""

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
from pathlib import Path

import criu
import hypothesis
import machine
import pytest
from harness import (
    BUSYBOX,
    REPOSITORY,
    Bundle,
    Container,
    cgroups_named,
    is_alive,
    mounts_below,
    under_test,
    wait_until,
)

PER_TEST_SECONDS = 120


def pytest_addoption(parser):
    parser.addoption("--full", action="store_true", help="run long loops at their full length")


def pytest_configure(config):
    # Who runs the tests in the background of a script has SIGINT ignored, and so would all that they start.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    if under_test().name == "crun":
        machine.hide_v2_from_crun()
    # Both are about time, which a busy machine takes from a test.
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow])
    hypothesis.settings.load_profile("busy")
    if hasattr(config, "workerinput"):
        machine.leave_the_mount_namespace()  # for the tests that compare all mounts before and after
    config.addinivalue_line("markers", "needs(what): skip by name what this machine lacks; see machine.py")
    config.addinivalue_line("markers", "only_pyrun(why): not for RUNTIME=runc or crun, with the difference")
    config.addinivalue_line("markers", "peers: an attack that is tried on runc and crun too; see security/README.md")
    config.addinivalue_line("markers", "falls(peer, to): an attack that the other runtime does not stand in each case")
    config.addinivalue_line("markers", "differs(peer, why): fails with RUNTIME=peer, with the difference")
    config.addinivalue_line("markers", "proves(property): shows that property of config.json; see unit/test_proofs.py")


def pytest_collection_modifyitems(items):
    # Two processes run all tests (tests/run), a file each, so the longest file begins.
    items.sort(key=lambda item: item.path.stem != "test_virtual_machine")
    for item in items:
        if item.get_closest_marker("timeout") is None:
            item.add_marker(pytest.mark.timeout(PER_TEST_SECONDS))
        for mark in item.iter_markers("differs"):
            peer, why = mark.args
            if under_test().name == peer:
                item.add_marker(pytest.mark.xfail(reason=f"{peer}: {why}", strict=True))


def pytest_runtest_setup(item):
    for mark in item.iter_markers("only_pyrun"):
        if under_test().name != "pyrun":
            pytest.skip(f"{under_test().name}: {mark.args[0]}")
    for mark in item.iter_markers("needs"):
        for what in mark.args:
            if machine.lacks(what):
                _report_lack(what)


def _report_lack(what):
    if os.environ.get("CI") == "true" and what not in machine.KNOWN_TO_LACK:
        pytest.fail(f"this machine lacks {what}, which is not in KNOWN_TO_LACK of tests/machine.py", pytrace=False)
    pytest.skip(f"this machine lacks {what}")


@pytest.fixture(scope="session", autouse=True)
def built():
    """Build dist/ where it is older than the sources."""
    sources = [REPOSITORY / "build_zipapp.py", *(REPOSITORY / "runtime").rglob("*.py")]
    program = REPOSITORY / "dist/pyrun"
    with open(REPOSITORY / "build_zipapp.py") as file:
        fcntl.flock(file, fcntl.LOCK_EX)  # several processes may run tests
        if not program.exists() or program.stat().st_mtime < max(source.stat().st_mtime for source in sources):
            subprocess.run(["/usr/bin/python3", "build_zipapp.py"], cwd=REPOSITORY, check=True, capture_output=True)


@pytest.fixture(autouse=True)
def hierarchies(request):
    """Let cgroup hierarchies stay as they are during a test that takes criu."""
    takes_criu = any("criu" in mark.args for mark in request.node.iter_markers("needs"))
    with criu.hierarchies_stay() if takes_criu else contextlib.nullcontext():
        yield


@pytest.fixture(scope="session")
def runtime():
    """The path of the runtime under test."""
    path = under_test()
    if not os.access(path, os.X_OK):
        pytest.fail(f"{path} is not there", pytrace=False)
    return path


@pytest.fixture(scope="session")
def full(request):
    """Whether long loops shall run at their full length."""
    return request.config.getoption("--full")


@pytest.fixture(scope="session")
def busybox(tmp_path_factory):
    """A copy of busybox that bundles link to: the root file systems would else be 2 MB each."""
    return Path(shutil.copy(BUSYBOX, tmp_path_factory.mktemp("busybox")))


@pytest.fixture(scope="session")
def compile_attacker(tmp_path_factory):
    """Compile security/attackers/NAME.c into a static program, or by other options of gcc."""
    if machine.lacks("gcc"):
        _report_lack("gcc")
    directory = tmp_path_factory.mktemp("attackers")

    def compile_attacker(name, *options):
        program = directory / name
        if not program.exists():
            source = REPOSITORY / "tests/security/attackers" / f"{name}.c"
            subprocess.run(["gcc", "-O1", *(options or ["-static"]), "-o", program, source], check=True)
        return program

    return compile_attacker


@pytest.fixture
def new_container(runtime, tmp_path, busybox, request):
    """Make containers, each with a bundle of its own, and see that nothing is left of them."""
    made = []

    def make():
        directory = tmp_path / f"bundle{len(made)}"
        made.append(Container(runtime, tmp_path, Bundle(directory, busybox)))
        return made[-1]

    yield make
    pids = [int(one.pid_file.read_text()) for one in made if one.pid_file.exists()]
    for one in made:
        one.call("delete", "--force", one.id)
    if any(mark.args[0] == runtime.name for mark in request.node.iter_markers("differs")):
        for path in [path for one in made for path in cgroups_named(one.id)]:
            os.rmdir(path)  # what must fail may leave something behind, as crun does
    if runtime.name != "pyrun":  # which waits for their end
        wait_until(lambda: not any(map(is_alive, pids)), "the processes have ended")
    left = {
        "states": os.listdir(made[0].root) if made and made[0].root.exists() else [],
        "cgroups": [path for one in made for path in cgroups_named(one.id)],
        "mounts": mounts_below(tmp_path),
        "processes": [pid for pid in pids if is_alive(pid)],
    }
    assert not any(left.values()), f"left behind: {left}"


@pytest.fixture
def container(new_container):
    return new_container()


@pytest.fixture
def bundle(container):
    """The bundle of `container`."""
    return container.bundle
