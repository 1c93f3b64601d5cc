"""Killed anywhere, failing anywhere: before any system call pyfetch may be killed, and any system call may fail.

security/attackers/faults.c numbers the calls, as for pyrun. Nothing half-made has a final name, and the next pull
works. By default a sample of them is tried, with --full all that differ, as tests/faults.py tells them apart; the
counts are printed (-rP shows them).
"""

import errno
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys

import pytest
from conftest import ROOT, tree, unmount_below
from faults import CANNOT_FAIL, Call, Errors, Run, ends_of_rows, kills, own_calls
from images import Image, directory, entry, hard_link, tar

pytestmark = [pytest.mark.needs("root", "gcc", "x86_64"), pytest.mark.timeout(7200)]

SAMPLE = 1  # moments of each verb and kind of fault; with --full all
ERRORS = Errors([errno.EIO, errno.ENOSPC, errno.EMFILE, errno.EINTR, errno.ENOMEM, errno.EPERM])
# mprotect, set_robust_list, rseq too are the C library's own business.
NOT_FAILED = CANNOT_FAIL | {10, 273, 334}
KEPT = 20  # tries that changed no file and no mount: so often the store stays for the next one, before a pull follows
FIXED = ("home", "layout", "whole")
VERBS = {
    "pull": ["oci:layout:x", "bundle"],
    "pull --copy": ["oci:layout:x", "bundle", "--copy"],
    "pull, warm": ["oci:layout:x", "bundle"],
    "pull, from a registry": ["registry", "bundle", "--retries", "0"],
    "rm": ["rm", "bundle"],
    "prune": ["prune", "--all"],
    "save": ["save", "layout", "--output", "saved"],
}


_calls: "dict[str, list[Call]]" = {}  # of each verb


@pytest.fixture(scope="session")
def program(tmp_path_factory):
    folder = tmp_path_factory.mktemp("built")
    subprocess.run([sys.executable, "build_zipapp.py", "--output", folder], cwd=ROOT, check=True, capture_output=True)
    return folder / "pyfetch"


@pytest.fixture(scope="session")
def faults(compile_attacker):
    return compile_attacker("faults")


@pytest.fixture
def image():
    lower = tar(directory("d"), entry("d/a", data=b"a" * 5000), entry("d/b", data=b"b"))
    return Image(lower, tar("d/.wh.b", entry("c", data=b"c" * 9000), hard_link("hard", "c"), "e/f"))


class Scene:
    """A store and a bundle as `verb` needs them, again for each fault."""

    def __init__(self, pyfetch, image, registry, program, faults, verb):
        self.kept = KEPT  # tries for which the files have been the same
        self.problems = []
        self.pyfetch, self.faults, self.verb = pyfetch, faults, verb
        self.folder = pyfetch.folder
        pyfetch.command = ["/usr/bin/env", program]
        image.write_layout(str(self.folder / "layout"), "x")
        self.registry_name = registry.add(image)
        pyfetch.ok("oci:layout:x", "whole", "--copy", "--store", "other")
        self.rootfs = tree(self.folder / "whole/rootfs")
        pyfetch.ok("oci:layout:x", "bundle", "--store", "other")
        self.layers = {
            name: tree(self.folder / "other/layers" / name) for name in os.listdir(self.folder / "other/layers")
        }
        unmount_below(self.folder)
        shutil.rmtree(self.folder / "bundle")
        shutil.rmtree(self.folder / "other")

    def words(self):
        name = os.path.join(str(self.folder), "layout:x")
        return [{"registry": self.registry_name, "layout": f"oci:{name}"}.get(word, word) for word in VERBS[self.verb]]

    def look(self):
        """Return all files and mounts, by what changes if anything is done to them."""
        found = {line for line in open("/proc/self/mounts") if str(self.folder) in line}
        for path, names, files in os.walk(self.folder):
            if path == str(self.folder):
                names[:] = [name for name in names if name not in FIXED]
            for name in (*names, *files):
                if name not in ("calls", "errors"):
                    status = os.lstat(os.path.join(path, name))
                    found.add((os.path.join(path, name), status.st_ino, status.st_size, status.st_mtime_ns))
        return found

    def prepare(self):
        if self.kept < KEPT:
            return
        unmount_below(self.folder)
        for name in os.listdir(self.folder):
            if name not in FIXED:
                path = self.folder / name
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        if self.verb not in ("pull", "pull --copy", "pull, from a registry"):
            self.pyfetch.ok("oci:layout:x", "bundle" if self.verb != "pull, warm" else "other")
        self.files = self.look()
        self.kept = 0

    def run(self, fault):
        command = [*self.pyfetch.command[1:], *self.words()]
        return Run(self.faults, self.folder, command, fault, cwd=self.folder, env=self.pyfetch.environment)

    def calls(self):
        """Return the calls of the verb, from the first that loads a module of ours."""
        if self.verb not in _calls:
            self.prepare()
            run = self.run("list")
            self.kept = KEPT
            assert run.status == 0, run.errors
            names = {str(self.folder): "", self.registry_name: "REGISTRY"}
            _calls[self.verb] = own_calls(self.faults, self.folder, run, names)
        return _calls[self.verb]

    def sampled(self, calls, full):
        return calls if full else random.Random(self.verb).sample(calls, SAMPLE)

    def try_(self, fault, call, check):
        """Run with `fault`, and note what of `check` and of the general does not hold."""
        self.prepare()
        try:
            run = self.run(fault)
        except subprocess.TimeoutExpired:
            self.kept = KEPT
            self.note(f"{self.verb}: {fault}, {call}: a hang")
            return
        what = f"{self.verb}: {fault}, {call}, now {run.call(call.at)}: {run.status}: {run.errors!r}"
        self.kept += 1
        try:
            run.await_the_end()
            assert "Traceback" not in run.errors, what
            check(run, what)
            if self.kept == KEPT or self.look() != self.files:
                self.kept = KEPT
                self.assert_whole(what)
                self.assert_the_next_pull_works(what)
        except AssertionError as error:
            self.kept = KEPT
            self.note(str(error)[:2000] or what)

    def note(self, problem):
        self.problems.append(problem)
        print(problem, flush=True)

    def report(self, sentence):
        print(f"{self.verb}: {sentence} of {len(self.calls())} system calls")
        assert not self.problems, f"{len(self.problems)} problems:\n" + "\n".join(self.problems)

    def assert_whole(self, what):
        store = self.folder / "store"
        for name in os.listdir(store / "blobs/sha256") if (store / "blobs/sha256").exists() else []:
            assert hashlib.sha256((store / "blobs/sha256" / name).read_bytes()).hexdigest() == name, what
        for name in os.listdir(store / "layers") if (store / "layers").exists() else []:
            assert name.startswith(".") or tree(store / "layers" / name).keys() == self.layers[name].keys(), what
        if (store / "index.json").exists():
            json.loads((store / "index.json").read_bytes())
        if (self.folder / "bundle").exists():
            assert all(json.loads((self.folder / "bundle" / f"{n}.json").read_bytes()) for n in ("config", "image")), (
                what
            )

    def assert_the_next_pull_works(self, what):
        done = self.pyfetch.run("oci:layout:x", "bundle")
        assert done.returncode == 0, f"{what}: {done.stderr}"
        rootfs = tree(self.folder / "bundle/rootfs")
        assert rootfs.keys() == self.rootfs.keys(), what
        assert {k: v[4] for k, v in rootfs.items()} == {k: v[4] for k, v in self.rootfs.items()}, what
        self.pyfetch.ok("prune")
        store = self.folder / "store"
        left = [name for folder in ("layers", "bundles", "partial") for name in os.listdir(store / folder)]
        assert [name for name in left if name.startswith(".")] == [], what
        left = [name for name in os.listdir(self.folder) if name.startswith(".bundle.")]
        assert left == [], what


@pytest.fixture(params=VERBS)
def scene(pyfetch, image, registry, program, faults, request):
    return Scene(pyfetch, image, registry, program, faults, request.param)


def test_killed_before_any_system_call_it_leaves_nothing_half_made(scene, full):
    tried = scene.sampled(kills(scene.calls()), full)

    for call in tried:
        scene.try_(f"kill:{call.at}", call, lambda run, what: None)

    scene.report(f"killed at {len(tried)}")


def test_interrupted_before_any_system_call_it_leaves_nothing_half_made(scene, full):
    tried = scene.sampled(ends_of_rows(scene.calls()), full)

    def check(run, what):
        assert run.status in (0, 128 + signal.SIGINT), what
        # Before our modules are loaded, nothing is said.
        assert run.status == 0 or not run.errors or re.search("^pyfetch: interrupted; ", run.errors, re.MULTILINE), what

    for call in tried:
        scene.try_(f"interrupt:{call.at}", call, check)

    scene.report(f"interrupted at {len(tried)}")


def test_any_system_call_that_fails_is_one_line_and_leaves_nothing_half_made(scene, full):
    calls = ends_of_rows([call for call in scene.calls() if call.number not in NOT_FAILED])
    tried = ERRORS.all(calls) if full else ERRORS.one_each(scene.sampled(calls, full))

    for call, error in tried:

        def check(run, what, at=call.at, error=error):
            failed = run.call(at)
            if run.status != 0 and failed and failed.number not in NOT_FAILED:
                lines = [line for line in run.errors.splitlines() if line.startswith(("pyfetch: error: ", "error: "))]
                assert len(lines) == 1 and lines[0] != f"pyfetch: error: {os.strerror(error)}", what

        scene.try_(f"fail:{call.at}:{error}", call, check)

    scene.report(f"{len(tried)} errors at {len({call.at for call, _ in tried})}")


def failing(pyfetch, call, error, *words, path=None):
    """Run pyfetch with all system calls `call`, or those on `path`, failing; return the one line of its error."""
    inject = ["strace", "-fqq", "-o", "/dev/null", "-e", f"inject={call}:error={error}"]
    pyfetch.command = [*inject, *(["-P", path] if path else []), *pyfetch.command]
    return pyfetch.fails(*words)[1]


def test_a_folder_that_cannot_be_listed_is_named(pyfetch, image):
    image.write_layout(str(pyfetch.folder / "layout"), "x")
    pyfetch.ok("oci:layout:x", "bundle", "--copy")
    inside = pyfetch.folder / ".bundle.gone/rootfs/d"
    os.rename(pyfetch.folder / "bundle/rootfs", pyfetch.folder / "saved")
    os.mkdir(pyfetch.folder / ".bundle.gone")
    os.rename(pyfetch.folder / "saved", pyfetch.folder / ".bundle.gone/rootfs")

    assert f"{inside}" in failing(pyfetch, "getdents64", "EIO", "rm", "bundle", path=inside)


def test_a_thread_that_cannot_be_started_is_an_error_of_one_line(pyfetch, image):
    image.write_layout(str(pyfetch.folder / "layout"), "x")

    assert "cannot start a thread" in failing(pyfetch, "clone,clone3", "EAGAIN", "oci:layout:x", "bundle")
    assert not (pyfetch.folder / "bundle").exists()


@pytest.mark.parametrize("call", ["pread64", "rt_sigaction"])
def test_a_call_that_fails_at_the_start_is_one_line(pyfetch, program, call):
    """Also if the modules that report it have to be read yet."""
    # The interpreter itself sets 65 actions, and the second line of the file one, which cannot fail: sigaction(2).
    first = {"pread64": 1, "rt_sigaction": 67}[call]
    for number in range(first, first + 40):
        inject = ["strace", "-qq", "-o", "/dev/null", "-e", f"inject={call}:error=ENOMEM:when={number}"]
        pyfetch.command = [*inject, program]
        done = pyfetch.run("prune")

        assert "Traceback" not in done.stderr
        assert done.stderr.count("\n") == (done.returncode != 0), done.stderr


def test_a_lock_that_is_not_given_back_is_no_hang(pyfetch, image):
    """The second call of each thread that downloads fails."""
    image.write_layout(str(pyfetch.folder / "layout"), "x")

    assert "Cannot allocate memory" in failing(pyfetch, "flock", "ENOMEM:when=2", "oci:layout:x", "bundle")
    assert not (pyfetch.folder / "bundle").exists()


@pytest.mark.parametrize(
    ("module", "error"),
    [("re", "Python's package re cannot be read"), ("encodings.idna", "unknown encoding: idna")],
)
def test_a_module_of_python_that_cannot_be_looked_at_is_one_line(pyfetch, registry, image, program, module, error):
    script = f"import {module}; print({module}.__file__)"
    path = subprocess.run(["/usr/bin/python3", "-c", script], capture_output=True, text=True, check=True).stdout.strip()
    pyfetch.command = [program]

    line = failing(pyfetch, "stat,newfstatat", "ENOMEM", registry.add(image), "bundle", path=path)

    assert error in line
    assert not (pyfetch.folder / "bundle").exists()
