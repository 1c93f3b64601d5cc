"""Code of the container that the runtime would load behind pivot_root: modules, libraries, NSS, gconv (CVE-2019-14271).

The root file system has, at the same absolute paths as the host, a standard library, a pyrun, shared libraries; each
leaves a mark when it is loaded.
"""

import os
import re
import socket
import subprocess
from pathlib import Path

import pytest
from hostile import HANG, PYRUN, wait_until

MODULES = (
    "json warnings re enum signal socket struct traceback linecache locale stringprep contextlib functools".split()
)
MODULES += ["encodings/idna", "encodings/utf_8", "encodings/ascii", "encodings/latin_1", "_strptime", "pyrun/errors"]
MARK = "import os\nos.close(os.open('/mark', os.O_CREAT | os.O_WRONLY))\n"


@pytest.fixture
def trap(bundle):
    """Lay the traps in the bundle's root file system."""
    show = "import sys, sysconfig; print(*filter(None, sys.path), sys.prefix, sep='\\n')"
    paths = subprocess.run(["/usr/bin/python3", "-c", show], capture_output=True, text=True).stdout.split()
    for directory in paths:
        for name in MODULES if not directory.endswith(".zip") else ():
            place(bundle, f"{directory}/{name}.py", MARK)
    place(bundle, PYRUN, MARK)
    for directory in ("/lib/x86_64-linux-gnu", "/usr/lib/x86_64-linux-gnu", "/lib64"):
        for name in ("libnss_files.so.2", "libnss_compat.so.2", "libffi.so.8", "libgcc_s.so.1", "gconv/UTF-16.so"):
            place(bundle, f"{directory}/{name}", "not even ELF")
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
    yield bundle
    with pytest.raises(BlockingIOError):
        server.accept()
    server.close()
    assert not (bundle.rootfs / "mark").exists()


def place(bundle, path, text):
    file = Path(f"{bundle.rootfs}{path}")
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


def script(text, mode=0o755):
    def prepare(bundle):
        place(bundle, "/program", text)
        (bundle.rootfs / "program").chmod(mode)
        return {"args": ["/program"]}

    return prepare


CASES = {
    "well": lambda bundle: {"args": ["/bin/true"]},
    "well with a home to look up": lambda bundle: {"args": ["true"], "env": ["PATH=/bin"]},
    "no program": lambda bundle: {"args": ["missing"]},
    "no program at its path": lambda bundle: {"args": ["/missing"]},
    "no format": script("nothing"),
    "no permission": script("#!/bin/sh\n", 0o644),
    "no interpreter": script("#!/missing\n"),
    "an ELF of no machine": script("\x7fELF" + "\0" * 100),
    "a directory": lambda bundle: {"args": ["/bin"]},
    "no directory to work in": lambda bundle: {"cwd": "/bin/busybox"},
    "a directory of another": lambda bundle: closed_directory(bundle),
    "not UTF-8": lambda bundle: {"args": ["/bin/\udcff\u00e9\U0001f600"]} and {"args": ["/bin/\u00e9\U0001f600"]},
    "an impossible limit": lambda bundle: {"rlimits": [{"type": "RLIMIT_NOFILE", "soft": 1 << 40, "hard": 1 << 40}]},
    "a group too many": lambda bundle: {"user": {"uid": 0, "gid": 0, "additionalGids": list(range(70000))}},
}


def closed_directory(bundle):
    (bundle.rootfs / "closed").mkdir(mode=0o700)
    return {"cwd": "/closed", "user": {"uid": 1000, "gid": 1000}}


@pytest.mark.parametrize("name", CASES)
def test_run_loads_nothing_of_the_container(trap, machine, name):
    trap.config["process"]["args"] = ["/bin/true"]
    trap.config["process"].update(CASES[name](trap))

    result = machine.run(trap)

    assert (result.returncode == 0) == name.startswith("well") or result.returncode in (0, 1), result.stderr


@pytest.mark.parametrize("name", CASES)
def test_exec_loads_nothing_of_the_container(trap, machine, name):
    import json

    process = {**trap.config["process"], "args": ["/bin/true"], **CASES[name](trap)}
    (trap.path / "process.json").write_text(json.dumps(process))
    id_ = machine.start(trap)

    result = machine.pyrun("exec", "--process", trap.path / "process.json", id_)

    assert (result.returncode == 0) == name.startswith("well") or result.returncode in (0, 1, 255), result.stderr


def test_a_failing_hook_in_the_container_loads_nothing_of_it(trap, machine):
    trap.config["hooks"] = {"startContainer": [{"path": "/bin/false"}]}

    result = machine.run(trap, "true")

    assert result.returncode == 1
    assert "startContainer hook #0" in result.stderr


def test_a_container_without_memory_loads_nothing_of_it(trap, machine):
    trap.config["linux"]["resources"]["memory"] = {"limit": 65536}

    machine.run(trap, "true")


def test_an_encoding_of_the_callers_locale_is_not_looked_up_in_the_container(trap, machine):
    environment = {"PATH": os.environ["PATH"], "LC_ALL": "ja_JP.SJIS", "LANG": "C"}

    machine.run(trap, "true", env=environment)


FORBIDDEN = re.compile(r"\.pyc?\"|\.so[.\"0-9]|\.zip|nsswitch|nscd|gconv|locale|ld\.so|dist/pyrun")


def traced(log, entry):
    """Return the calls of the process that leaves the host's files, from there to its execve of the program."""
    if not wait_until(lambda: log.exists()):
        return []
    by_pid = {}
    for line in log.read_text(errors="replace").splitlines():
        pid, _, call = line.strip().partition(" ")
        by_pid.setdefault(pid, []).append(call.strip())
    for calls in by_pid.values():
        starts = [i for i, call in enumerate(calls) if call.startswith(entry)]
        if starts:
            return calls[starts[0] :]
    return []


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
    bundle.write()
    command = ["exec", id_, program] if verb == "exec" else ["run", "--bundle", str(bundle.path), id_]
    calls = "trace=open,openat,openat2,execve,execveat,connect,pivot_root,setns"
    strace = ["strace", "-f", "-o", str(log), "-e", calls, "-s", "200", PYRUN, "--root", machine.root, *command]
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
