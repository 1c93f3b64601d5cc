"""Code of the container that the runtime would load behind pivot_root: modules, libraries, NSS, gconv (CVE-2019-14271).

The root file system has, at the same absolute paths as the host, a standard library, a pyrun, shared libraries; each
leaves a mark when it is loaded, and nscd's socket hears who looks up a user.
"""

import json
import os
import re
import shutil
import socket
import subprocess
from pathlib import Path

import pytest
from harness import build_with, under_test, wait_until
from hostile import HANG

MODULES = (
    "json warnings re enum signal socket struct traceback linecache locale stringprep contextlib functools".split()
)
MODULES += ["encodings/idna", "encodings/utf_8", "encodings/ascii", "encodings/latin_1", "_strptime", "pyrun/errors"]
MARK = "import os\nos.close(os.open('/mark', os.O_CREAT | os.O_WRONLY))\n"


@pytest.fixture
def trapped(bundle, compile_attacker):
    """A bundle with the traps in its root file system."""
    show = "import sys, sysconfig; print(*filter(None, sys.path), sys.prefix, sep='\\n')"
    paths = subprocess.run(["/usr/bin/python3", "-c", show], capture_output=True, text=True).stdout.split()
    for directory in paths:
        for name in MODULES if not directory.endswith(".zip") else ():
            place(bundle, f"{directory}/{name}.py", MARK)
    place(bundle, under_test(), MARK)
    library = compile_attacker("mark", "-shared", "-fPIC")
    for directory in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64"):
        (bundle.rootfs / f".{directory}/gconv").mkdir(parents=True)
        for name in ("libnss_files.so.2", "libnss_compat.so.2", "libffi.so.8", "libgcc_s.so.1", "gconv/UTF-16.so"):
            shutil.copy(library, bundle.rootfs / f".{directory}/{name}")
    place(bundle, "/etc/ld.so.preload", "/preload.so\n")
    place(bundle, "/etc/nsswitch.conf", "passwd: files compat\n")
    place(bundle, "/usr/lib/x86_64-linux-gnu/gconv/gconv-modules", "module UTF-8// INTERNAL mark 1\n")
    place(bundle, "/etc/passwd", "root:x:0:0::/root:/bin/sh\n")
    server = socket.socket(socket.AF_UNIX)
    (bundle.rootfs / "run/nscd").mkdir(parents=True)
    (bundle.rootfs / "var").mkdir()
    os.symlink("/run", bundle.rootfs / "var/run")
    before = os.getcwd()
    os.chdir(bundle.rootfs / "run/nscd")  # a socket's path has 107 bytes
    server.bind("socket")
    os.chdir(before)
    server.listen()
    server.setblocking(False)
    bundle.nscd = server
    yield bundle
    server.close()


@pytest.fixture
def trap(trapped):
    """The same, of which nothing may be loaded."""
    yield trapped
    assert not was_loaded(trapped)
    assert not was_asked_for_a_user(trapped)


def was_loaded(bundle):
    return (bundle.rootfs / "mark").exists()


def was_asked_for_a_user(bundle):
    try:
        bundle.nscd.accept()[0].close()
    except BlockingIOError:
        return False
    return True


def place(bundle, path, text):
    file = Path(f"{bundle.rootfs}{path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode("utf-8", "surrogateescape"))


def script(text, mode=0o755):
    def prepare(bundle):
        place(bundle, "/program", text)
        (bundle.rootfs / "program").chmod(mode)
        return {"args": ["/program"]}

    return prepare


def closed_directory(bundle):
    (bundle.rootfs / "closed").mkdir(mode=0o700)
    return {"cwd": "/closed", "user": {"uid": 1000, "gid": 1000}}


# how the process differs from `echo ran`, and what pyrun says of it; "" if it runs
CASES = {
    "well": (lambda bundle: {}, ""),
    "well with a home to look up": (lambda bundle: {"env": ["PATH=/bin"]}, ""),
    "well in a directory of another": (closed_directory, ""),
    "no program": (lambda bundle: {"args": ["missing"]}, '"missing": executable file not found'),
    "no program at its path": (lambda bundle: {"args": ["/missing"]}, "stat /missing: no such file"),
    "no format": (script("nothing"), "neither an ELF program nor a script"),
    "no permission": (script("#!/bin/sh\n", 0o644), "/program has no x bit"),
    "no interpreter": (script("#!/missing\n"), "its interpreter '/missing' is missing"),
    "an ELF of no machine": (script("\x7fELF" + "\0" * 100), "it is a program for machine 0"),
    "a directory": (lambda bundle: {"args": ["/bin"]}, "it is a directory"),
    "no directory to work in": (lambda bundle: {"cwd": "/bin/busybox"}, "ot a directory"),
    "not ASCII": (lambda bundle: {"args": ["/bin/\u00e9\U0001f600"]}, "stat /bin/\u00e9\U0001f600: no such file"),
    "no interpreter, whose name is not UTF-8": (script("#!/\udcff\n"), "its interpreter '/"),
    "an impossible limit": (
        lambda bundle: {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]},
        "error setting rlimit RLIMIT_NOFILE",
    ),
    "a group too many": (
        lambda bundle: {"user": {"uid": 0, "gid": 0, "additionalGids": list(range(70000))}},
        "too many groups",
    ),
}


@pytest.mark.parametrize("name", CASES)
def test_run_loads_nothing_of_the_container(trap, machine, name):
    prepare, message = CASES[name]
    trap.config["process"].update({"args": ["echo", "ran"], **prepare(trap)})

    result = machine.run(trap)

    if message:
        assert (result.returncode, result.stdout) == (1, "")
    else:
        assert (result.returncode, result.stdout) == (0, "ran\n")
    assert message in result.stderr


@pytest.mark.parametrize("name", CASES)
def test_exec_loads_nothing_of_the_container(trap, machine, name):
    prepare, message = CASES[name]
    process = {**trap.config["process"], "args": ["echo", "ran"], **prepare(trap)}
    (trap.path / "process.json").write_text(json.dumps(process))
    id_ = machine.start(trap)

    result = machine.exec(id_, options=["--process", trap.path / "process.json"])

    if message:
        assert (result.returncode, result.stdout) == (255, "")
    else:
        assert (result.returncode, result.stdout) == (0, "ran\n")
    assert message in result.stderr


def test_a_failing_hook_in_the_container_loads_nothing_of_it(trap, machine):
    trap.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}

    result = machine.run(trap, "true")

    assert result.returncode == 1
    assert "startContainer hook #0" in result.stderr


def test_a_container_without_memory_loads_nothing_of_it(trap, machine):
    trap.config["linux"]["resources"]["memory"] = {"limit": 65536}

    assert machine.run(trap, "true").returncode != 0


def test_an_encoding_of_the_callers_locale_is_not_looked_up_in_the_container(trap, machine):
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "ja_JP.SJIS", "LANG": "C"}

    assert machine.run(trap, "echo ran", env=environment).stdout == "ran\n"


# What a build without seal_imports does in the container: `run` when it looks up the program, and `exec`, which has no
# Python there, in place of the stub.
FAULTS = {
    "a module": "import stringprep",
    "a codec": "'x'.encode('idna')",
    "a library": "ctypes.CDLL('/usr/lib/x86_64-linux-gnu/libffi.so.8')",
    "a user": "pwd.getpwuid(4321)",
}
UNSEALED = """

def seal_imports():
    pass
"""
FAULTY = """

import ctypes, pwd
from foundation.linux.syscalls import number

_{name} = {name}

def {name}(*arguments):
    if {condition}:
        try:
            exec(os.environment.get("FAULT", ""))
        except Exception:
            pass  # what the trap is made of ends in an error, after it has left its mark
    return _{name}(*arguments)
"""
WITHOUT_STUB = """

def open_program():
    return -1
"""


@pytest.fixture(scope="module")
def faulty_build(tmp_path_factory):
    additions = {
        "pyrun/stub/departure.py": UNSEALED,
        "pyrun/stub/carrier.py": WITHOUT_STUB,
        "pyrun/stub/interpreter.py": FAULTY.format(name="raw_syscall", condition="arguments[0] == number('setsid')"),
        "pyrun/launch/look_up.py": FAULTY.format(name="find", condition="True"),
    }
    return build_with(tmp_path_factory.mktemp("faulty"), additions)


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_what_a_faulty_build_loads_would_be_noticed(trapped, machine, faulty_build, verb, fault):
    machine.program = faulty_build
    environment = {**os.environ, "FAULT": FAULTS[fault]}

    if verb == "run":
        machine.run(trapped, "true", env=environment)
    else:
        machine.exec(machine.start(trapped), "true", env=environment)

    assert was_asked_for_a_user(trapped) if fault == "a user" else was_loaded(trapped)


FORBIDDEN = re.compile(r"\.pyc?\"|\.so[.\"0-9]|\.zip|nsswitch|nscd|gconv|locale|ld\.so|dist/pyrun")


def traced(log, entry):
    """Return the calls of the process that leaves the host's files, from there on, and of those that it makes then."""
    if not wait_until(lambda: log.exists()):
        return []
    calls = [line.split(maxsplit=1) for line in log.read_text(errors="replace").splitlines()]
    starts = [i for i, (_, call) in enumerate(calls) if call.startswith(entry)]
    if not starts:
        return []
    outside = {pid for pid, _ in calls[: starts[0]]} - {calls[starts[0]][0]}
    return [call for pid, call in calls[starts[0] :] if pid not in outside]


@pytest.mark.parametrize(
    ("verb", "entry", "program"),
    [("run", "pivot_root(", "/bin/true"), ("exec", "setns(", "/bin/true"), ("exec", "setns(", "/missing")],
)
def test_between_the_hosts_files_and_the_program_nothing_is_opened_that_could_be_code(
    bundle, machine, verb, entry, program
):
    if not Path("/usr/bin/strace").exists():
        pytest.skip("strace is not installed")
    bundle.config["process"]["args"] = [program]
    log = bundle.path / "strace"
    id_ = machine.start(bundle) if verb == "exec" else machine.new_id()
    bundle.config["process"]["args"] = [program]
    bundle.save()
    command = ["exec", id_, program] if verb == "exec" else ["run", "--bundle", str(bundle.path), id_]
    calls = "trace=open,openat,openat2,execve,execveat,connect,pivot_root,setns"
    strace = ["strace", "-f", "-o", str(log), "-e", calls, "-s", "200", *machine.command(*command)]
    subprocess.run(strace, stdin=subprocess.DEVNULL, capture_output=True, timeout=HANG)

    inside = traced(log, entry)

    assert inside
    assert any(call.startswith("execve") for call in inside) or program == "/missing"
    assert [call for call in inside if FORBIDDEN.search(call)] == []


def test_the_modules_of_the_runtime_are_not_read_from_the_callers_directory(bundle, machine, directory):
    for name in ("json", "os", "errno", "_signal", "ctypes", "fcntl", "sitecustomize", "usercustomize", "pyrun"):
        (directory / f"{name}.py").write_text(f"open({str(directory / 'mark')!r}, 'w')")

    result = machine.run(bundle, "echo ran", cwd=directory)

    assert result.stdout == "ran\n"
    assert not (directory / "mark").exists()
