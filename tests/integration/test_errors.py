"""Bad input: one line that names the thing and the way out, exit 1, nothing created."""

import json
import os
import shutil
import subprocess
import sys

import pytest
from harness import TIMEOUT, V2_ALONE

pytestmark = [pytest.mark.needs("root", "/bin/busybox"), pytest.mark.only_pyrun("the wording is pyrun's own")]


@pytest.fixture
def refused(container):
    """Return the message of a `create` that must leave nothing."""

    def refused(*arguments, options=(), **keywords):
        if arguments:
            container.bundle.process["args"] = list(arguments)
        message = container.fails("create", "--bundle", container.bundle.path, *options, container.id, **keywords)
        assert not container.root.exists() or os.listdir(container.root) == []
        assert container.cgroups() == []
        return message.removeprefix("error: ")

    return refused


def write_config(container, text):
    """Have exactly `text` as config.json, whatever the bundle holds."""
    container.bundle.save = lambda: (container.bundle.path / "config.json").write_bytes(text)


def test_a_missing_config_is_named(container, refused):
    container.bundle.save = lambda: None

    assert refused().startswith("config.json: No such file or directory")


def test_a_missing_bundle_is_named(container):
    message = container.fails("create", "--bundle", "/nonexistent/bundle", container.id)

    assert message == "error: /nonexistent/bundle: No such file or directory"


@pytest.mark.parametrize(
    "text, part",
    [
        (b"", "config.json: "),
        (b"{", "config.json: "),
        (b'{"ociVersion": "1.0.2",}', "line 1 column"),
        (b"[]", "config.json: "),
        (b"null", "config.json: "),
        (b'{"ociVersion": NaN}', "NaN is not a number"),
        (b"\xff\xfe", "config.json: "),
        (b"[" * 100_000, "config.json: "),
    ],
    ids=lambda value: value[:20] if isinstance(value, bytes) else "",
)
def test_broken_json_is_told_with_its_place(container, refused, text, part):
    write_config(container, text)

    assert part in refused()


def remove(*path):
    def change(config):
        for name in path[:-1]:
            config = config[name]
        del config[path[-1]]

    return change


def put(value, *path):
    def change(config):
        for name in path[:-1]:
            config = config[name]
        if isinstance(path[-1], str):
            config[path[-1]] = value
        else:
            config.append(value)

    return change


@pytest.mark.parametrize(
    "change, expected",
    [
        (remove("ociVersion"), "config.json: ociVersion is required"),
        (remove("process"), "config.json: process is required"),
        (remove("process", "args"), "config.json: process.args: must not be empty"),
        (remove("process", "cwd"), "config.json: process.cwd is required"),
        (remove("mounts", 1, "destination"), "config.json: mounts[1].destination is required"),
        (remove("root", "path"), "config.json: root.path is required"),
        (put([], "process", "args"), "config.json: process.args"),
        (put("x", "process", "args"), "config.json: process.args: expected array, found 'x'"),
        (put(True, "process", "user", "uid"), "config.json: process.user.uid: expected integer, found True"),
        (put("0", "process", "user", "uid"), "config.json: process.user.uid: expected integer, found '0'"),
        (put(-1, "process", "user", "gid"), "config.json: process.user.gid"),
        (put(1 << 32, "process", "user", "uid"), "config.json: process.user.uid"),
        (put(1, "process", "terminal"), "config.json: process.terminal: expected boolean, found"),
        (put("relative", "process", "cwd"), "config.json: process.cwd"),
        (put(["NOEQUALS"], "process", "env"), "config.json: process.env"),
        (
            put({"type": "gpu"}, "linux", "namespaces", 0),
            "config.json: linux.namespaces[5].type: namespace 'gpu' does not exist",
        ),
        (
            put({"type": "pid"}, "linux", "namespaces", 0),
            "config.json: linux.namespaces[5].type: malformed spec file: duplicated ns",
        ),
        (put({"type": "uts", "path": "uts"}, "linux", "namespaces", 0), "linux.namespaces[5]"),
        (put("../x", "linux", "cgroupsPath"), "config.json: linux.cgroupsPath"),
        (put("rshared2", "linux", "rootfsPropagation"), "config.json: linux.rootfsPropagation"),
        (put("2.0.0", "ociVersion"), "config.json: ociVersion"),
        (put({"kernel.hostname": "x"}, "linux", "sysctl"), "config.json: linux.sysctl"),
        (put({"vm.swappiness": "1"}, "linux", "sysctl"), "config.json: linux.sysctl"),
        (put("x" * 65, "hostname"), "hostname"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_property_is_named_by_its_path(container, refused, change, expected):
    change(container.bundle.config)

    assert expected in refused()


@pytest.mark.parametrize(
    "id_", ["", ".", "..", "a/b", "../x", "a b", "a\nb", "\u00e9", "x" * 256, "a:b", "a\0b"[:1] + "*"]
)
def test_a_bad_id_is_refused(container, id_):
    message = container.call("create", "--bundle", container.bundle.path, id_)

    assert message.returncode == 1
    assert "invalid container id" in message.stderr
    assert not container.root.exists()


def test_a_missing_program_is_worded_as_by_everybody(refused):
    assert refused("nowhere") == 'exec: "nowhere": executable file not found in $PATH'


def test_a_missing_program_with_a_path_is_not_there(refused):
    message = refused("/bin/nowhere")

    assert '"/bin/nowhere"' in message
    assert "no such file or directory" in message


def test_a_program_that_is_a_directory(refused):
    assert "permission denied: it is a directory" in refused("/bin")


def test_a_program_that_is_not_executable(container, refused):
    (container.bundle.rootfs / "bin/plain").write_text("#!/bin/sh\n")

    assert 'exec: "/bin/plain": permission denied' in refused("/bin/plain")


def test_a_program_of_another_architecture(container, refused):
    path = container.bundle.rootfs / "bin/foreign"
    shutil.copy("/bin/busybox", path)
    content = bytearray(path.read_bytes())
    content[18:20] = (243).to_bytes(2, "little")  # e_machine, EM_RISCV
    path.write_bytes(content)
    message = refused("/bin/foreign")

    assert "exec format error: it is a program for riscv64, and this machine is" in message
    assert "binfmt_misc" in message


def test_a_script_whose_interpreter_is_missing(container, refused):
    script = container.bundle.rootfs / "bin/script"
    script.write_text("#!/usr/bin/perl\n")
    script.chmod(0o755)

    assert "its interpreter '/usr/bin/perl' is missing" in refused("script")


@pytest.mark.parametrize("line", [b"#!/bin/sh\r\n", b"#! \t/bin/sh\r\n"])
def test_a_script_saved_on_windows(container, refused, line):
    script = container.bundle.rootfs / "bin/script"
    script.write_bytes(line + b"echo\r\n")
    script.chmod(0o755)

    assert "carriage return" in refused("script")


def test_a_program_whose_loader_is_missing(container, refused):
    shutil.copy("/usr/bin/python3", container.bundle.rootfs / "bin/dynamic")
    message = refused("dynamic")

    assert "its ELF interpreter /lib" in message
    assert "is missing" in message


@pytest.mark.parametrize("content", [b"", b"just text\n"])
def test_a_program_that_is_none(container, refused, content):
    program = container.bundle.rootfs / "bin/none"
    program.write_bytes(content)
    program.chmod(0o755)

    assert "exec format error" in refused("none")


def test_a_missing_root_file_system(container, refused):
    container.bundle.config["root"]["path"] = "elsewhere"

    assert "invalid rootfs" in refused("true")


def test_a_root_file_system_that_is_a_file(container, refused):
    (container.bundle.path / "file").write_text("")
    container.bundle.config["root"]["path"] = "file"

    assert "is not a directory" in refused("true")


def test_a_missing_source_of_a_bind(container, refused):
    container.bundle.mount("/mnt", "bind", "/nonexistent/source")

    assert 'error mounting "/nonexistent/source" to rootfs at "/mnt"' in refused("true")


def test_an_unknown_file_system(container, refused):
    container.bundle.mount("/mnt", "nonsensefs", "none")

    assert 'error mounting "nonsensefs" to rootfs at "/mnt"' in refused("true")


def test_an_unknown_option_of_a_file_system(container, refused):
    container.bundle.mount("/mnt", "tmpfs", "tmpfs", "nonsense=1")

    assert "nonsense=1" in refused("true")


def test_a_working_directory_that_is_a_file(container, refused):
    (container.bundle.rootfs / "file").write_text("")
    container.bundle.process["cwd"] = "/file"

    assert "/file" in refused("true")


@pytest.mark.parametrize(
    "arguments, part",
    [
        (["nonsense"], '"nonsense" is not a command of pyrun: see pyrun --help'),
        (["--nonsense"], "flag provided but not defined: -nonsense"),
        (["--log-format", "xml", "list"], 'invalid log-format "xml"'),
        (["--root", "/", "list"], 'invalid root "/"'),
        (["--root", "", "list"], 'invalid root ""'),
        (["--root"], "flag needs an argument: -root"),
        (["start"], '"pyrun start" requires exactly 1 argument'),
        (["start", "a", "b"], '"pyrun start" requires exactly 1 argument'),
        (["list", "--format", "yaml"], 'invalid format option "yaml"'),
        (["kill", "a", "NONSENSE"], 'unknown signal "NONSENSE"'),
        (["kill", "a", "65"], 'unknown signal "65"'),
        (["create", "--preserve-fds", "x", "a"], "preserve-fds"),
        (["create", "--preserve-fds", "700", "a"], "--preserve-fds: file descriptor 3 is not open"),
        (["--log", "/nonexistent/log", "list"], "/nonexistent/log: No such file or directory"),
    ],
)
def test_a_wrong_command_line_is_told(runtime, arguments, part):
    result = subprocess.run([runtime, *arguments], capture_output=True, text=True, timeout=TIMEOUT)

    assert result.returncode == 1
    assert part in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_a_terminal_without_a_console_socket_is_refused(container, refused):
    container.bundle.process["terminal"] = True

    assert "cannot allocate tty if pyrun will detach without setting console socket" in refused("true")


def test_a_console_socket_without_a_terminal_is_refused(refused, tmp_path):
    assert "cannot use console socket if pyrun will not" in refused(
        "true", options=["--console-socket", tmp_path / "socket"]
    )


def test_a_console_socket_that_is_not_there_is_named(container, refused, tmp_path):
    container.bundle.process["terminal"] = True

    assert f"{tmp_path}/socket" in refused("true", options=["--console-socket", tmp_path / "socket"])


def test_a_failing_pid_file_leaves_nothing(refused):
    assert "/nonexistent/dir" in refused("true", options=["--pid-file", "/nonexistent/dir/pid"])


def test_not_being_root_is_an_error_without_a_traceback(container, tmp_path):
    (tmp_path / "open").mkdir(mode=0o777)
    shutil.copy(container.runtime, tmp_path / "open/pyrun")
    for parent in (tmp_path, *tmp_path.parents):
        if parent != parent.parent:
            parent.chmod(parent.stat().st_mode | 0o111)
    container.bundle.save()
    command = [tmp_path / "open/pyrun", "--root", "/nonexistent/state", "run", "-b", container.bundle.path, "x"]
    result = subprocess.run(command, capture_output=True, text=True, user=65534, group=65534, timeout=TIMEOUT)

    assert result.returncode == 1
    assert "Traceback" not in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_start_reports_a_program_that_vanished(container):
    container.bundle.process["args"] = ["/bin/true"]
    container.create()
    (container.bundle.rootfs / "bin/busybox").unlink()

    message = container.fails("start", container.id)

    assert message.startswith("error: exec /bin/true: no such file or directory: ")
    container.wait_until("stopped")


def test_the_fixtures_of_invalid_configs_are_refused_by_the_file_too(container, full):
    directory = os.path.join(os.path.dirname(__file__), "../../spec-fixtures/config/invalid")
    names = sorted(name.removesuffix(".json") for name in os.listdir(directory) if name.endswith(".json"))
    for name in names if full else names[::10]:
        with open(f"{directory}/{name}.json", "rb") as file:
            text = file.read()
        write_config(container, text)
        with open(f"{directory}/{name}.error") as file:
            expected = file.read().splitlines()[0]

        assert expected in container.fails("create", "--bundle", container.bundle.path, container.id), name


@pytest.mark.skipif(V2_ALONE, reason="on v2 the limit comes when the init is ready")
def test_an_init_that_has_no_memory_is_said_to_be_out_of_memory(container, bundle):
    bundle.resources["memory"] = {"limit": 4096}

    message = container.run_fails("true")
    assert "container init was OOM-killed (memory limit too low?)" in message
    if container.name == "pyrun":
        assert message.endswith(": linux.resources.memory.limit is 4096 bytes")


def said_of_a_program_that_never_ran(container, bundle, verb):
    if verb == "exec":
        return container.fails("exec", container.id, "true", status=255)
    bundle.process["args"] = ["true"]
    bundle.save()
    return container.fails(*verb.split(), "--bundle", bundle.path, container.id)


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    "verb, who, call",
    [
        ("run", "container init", "setsid"),
        ("run", "container init", "pivot_root"),
        ("exec", "process", "setns"),
        ("exec", "process", "chroot"),
        ("exec", "process", "capset"),
    ],
)
def test_a_signal_that_ends_a_process_before_its_program_runs_is_named(container, bundle, verb, who, call):
    if verb == "exec":
        container.sleeping()
    container.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:signal=SIGKILL"]
    said = said_of_a_program_that_never_ran(container, bundle, verb)

    assert said.endswith(f"{who} was killed by signal 9 before its program ran")


KILLED_BY_A_CALL = """
import ctypes, os, struct, sys
load, compare = (0x20, 0, 0, 0), (0x15, 0, 1, int(sys.argv[1]))
kill, allow = (6, 0, 0, 1 << 31), (6, 0, 0, 0x7FFF << 16)
filter = ctypes.create_string_buffer(struct.pack("<" + 4 * "HBBI", *load, *compare, *kill, *allow))
PR_SET_SECCOMP, SECCOMP_MODE_FILTER = 22, 2
program = struct.pack("@HP", 4, ctypes.addressof(filter))
assert ctypes.CDLL(None).prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, program) == 0
os.execv(sys.argv[2], sys.argv[2:])
"""


@pytest.mark.parametrize("verb, who, call", [("run", "container init", "pivot_root"), ("exec", "process", "setns")])
def test_a_call_that_an_outer_filter_kills_for_is_said_to_be_the_reason(container, bundle, verb, who, call):
    if verb == "exec":
        container.sleeping()
    number = {"x86_64": {"pivot_root": 155, "setns": 308}, "aarch64": {"pivot_root": 41, "setns": 268}}
    container.prefix = [sys.executable, "-c", KILLED_BY_A_CALL, str(number[os.uname().machine][call])]
    said = said_of_a_program_that_never_ran(container, bundle, verb)

    assert f"{who} was killed by signal 31 before its program ran: a seccomp filter forbids a call" in said


@pytest.mark.parametrize("verb", ["run", "run --detach", "exec"])
def test_a_filter_that_forbids_execve_is_said_to_be_the_reason(container, bundle, verb):
    rule = {"names": ["execve"], "action": "SCMP_ACT_KILL_PROCESS"}
    filter_ = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [rule]}
    if verb == "exec":
        container.sleeping()
        path = container.root / container.id / "config.json"
        config = json.loads(path.read_text())
        config["linux"]["seccomp"] = filter_
        path.write_text(json.dumps(config))
    else:
        bundle.linux["seccomp"] = filter_
    said = said_of_a_program_that_never_ran(container, bundle, verb)

    assert "was killed by signal 31 before its program ran: a seccomp filter forbids a call" in said
    assert container.exists() == (verb == "exec")


@pytest.mark.needs("strace")
def test_an_exec_that_is_killed_where_memory_was_short_is_possibly_out_of_memory(container, bundle):
    bundle.resources["memory"] = {"limit": 64 << 20, "swap": 64 << 20}
    container.sleeping()
    container.call("exec", container.id, "tail", "/dev/zero")
    container.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", "inject=capset:signal=SIGKILL"]

    assert "(possibly OOM-killed" in said_of_a_program_that_never_ran(container, bundle, "exec")


@pytest.mark.needs("strace")
@pytest.mark.parametrize("verb", ["run", "exec"])
@pytest.mark.parametrize("call", ["close_range", "memfd_create"])
def test_a_call_that_an_outer_filter_does_not_know_is_done_without(container, bundle, call, verb):
    if verb == "exec":
        container.sleeping()
    container.prefix = ["strace", "-f", "-qq", "-o", "/dev/null", "-e", f"inject={call}:error=ENOSYS"]
    told = container.run("echo", "ran") if verb == "run" else container.exec("echo", "ran")
    container.prefix = []

    assert told == "ran\n"
