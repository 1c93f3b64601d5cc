"""CVE-2019-5736: the container reaches the runtime's own executable by /proc/PID/exe, and overwrites it for the host.

For a runtime in Python that would be the host's python3. What a process of the container may see is the stub, a
sealed memfd, and nothing of any process before.
"""

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import under_test, wait_until, without_executable_memfds

# As Docker gives them with --cap-add SYS_PTRACE. With CAP_SYS_ADMIN too, and no user namespace, nothing is kept in.
TRACER = (
    "CAP_SYS_PTRACE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID "
    "CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
).split()


def all_capabilities():
    names = Path(__file__).resolve().parents[2] / "runtime"
    program = f"import sys; sys.path[:0] = [{str(names)!r}]; from foundation.linux.capability import *\n"
    program += "print(*CAPABILITIES)"
    return subprocess.run(["/usr/bin/python3", "-c", program], capture_output=True, text=True).stdout.split()


class Peer:
    """peer.c at work in a container; `findings` is what it has printed."""

    def __init__(self, machine, bundle, program, victim, count):
        (bundle.rootfs / "peer").write_bytes(program.read_bytes())
        (bundle.rootfs / "peer").chmod(0o755)
        (bundle.rootfs / "found").write_text("")
        (bundle.rootfs / "found").chmod(0o666)
        self._file = bundle.rootfs / "found"
        self.id = machine.start(bundle, " & ".join([f"/peer {victim.path}/secret >>/found"] * count))
        wait_until(lambda: "peer runs" in self._file.read_text())

    def findings(self, kind):
        return {line.partition(" ")[2] for line in self._file.read_text().splitlines() if line.startswith(f"{kind} ")}


@pytest.fixture
def watch(machine, compile_attacker, victim):
    return lambda bundle, count=2: Peer(machine, bundle, compile_attacker("peer"), victim, count)


def assert_nothing_was_found(peer):
    programs = {"/peer", "/bin/busybox", "/memfd:pyrun (deleted)"}
    assert "/peer" in peer.findings("exe") <= programs  # the peers see each other, so they have looked
    assert peer.findings("writable") <= {"/peer", "/bin/busybox"}  # those are the container's own
    assert peer.findings("escaped") == set()


def exec_many(machine, id_, count):
    for _ in range(count):
        assert machine.exec(id_, "true").returncode == 0


@pytest.mark.usefixtures("host_programs")
@pytest.mark.parametrize("privileged", [False, True])
@pytest.mark.parametrize("in_user_namespace", [False, True])
def test_exec_shows_a_peer_no_interpreter_and_no_way_out(bundle, machine, watch, full, privileged, in_user_namespace):
    if privileged:
        bundle.capabilities(*(all_capabilities() if in_user_namespace else TRACER))
    if in_user_namespace:
        bundle.user_namespace()
    peer = watch(bundle)

    exec_many(machine, peer.id, 500 if full else 60)

    assert_nothing_was_found(peer)


@pytest.mark.usefixtures("host_programs")
def test_exec_shows_an_ordinary_peer_none_of_its_descriptors(bundle, machine, watch, full):
    peer = watch(bundle, count=1)  # two would see each other

    for _ in range(500 if full else 60):
        machine.exec(peer.id, "true", stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    own = {"/dev/null", "/found", "/proc", f"{bundle.path.parent}/{peer.id}.output"}
    assert {path for path in peer.findings("fd") if not path.startswith("/proc/")} <= own


@pytest.mark.usefixtures("host_programs")
@pytest.mark.parametrize("user", [False, True])
def test_a_container_in_a_joined_pid_namespace_shows_a_peer_no_interpreter(
    bundle, make_bundle, machine, watch, full, user
):
    bundle.capabilities(*(all_capabilities() if user else TRACER))
    if user:
        bundle.user_namespace()
    peer = watch(bundle)
    pid = machine.state(peer.id)["pid"]
    other = make_bundle()
    if user:
        other.user_namespace()
        other.namespace("pid", f"/proc/{pid}/ns/pid")
        other.namespace("user", f"/proc/{pid}/ns/user")
    else:
        other.namespace("pid", f"/proc/{pid}/ns/pid")

    for _ in range(100 if full else 15):
        assert machine.run(other, "true").returncode == 0

    assert_nothing_was_found(peer)


@pytest.mark.usefixtures("host_programs")
def test_in_the_hosts_pid_namespace_a_peer_may_not_look_at_interpreters(bundle, machine, watch, full):
    bundle.without_namespace("pid")
    peer = watch(bundle)

    exec_many(machine, peer.id, 500 if full else 30)

    assert {path for path in peer.findings("exe") if "python" in path} == set()
    assert peer.findings("escaped") == set()


@pytest.mark.usefixtures("host_programs")
def test_in_the_hosts_pid_namespace_root_of_a_user_namespace_may_not_look_at_who_joins_it(
    bundle, make_bundle, machine, watch, full
):
    bundle.user_namespace()
    bundle.without_namespace("pid")
    bundle.capabilities(*all_capabilities())
    bundle.without_mount("/proc")
    bundle.config["mounts"].insert(0, {"destination": "/proc", "source": "/proc", "options": ["rbind"]})
    peer = watch(bundle)
    pid = machine.state(peer.id)["pid"]
    other = make_bundle()
    other.user_namespace()
    other.config["mounts"] = bundle.config["mounts"]
    other.without_namespace("pid")
    other.namespace("user", f"/proc/{pid}/ns/user")

    for _ in range(100 if full else 20):
        assert machine.run(other, "true").returncode == 0
        assert machine.exec(peer.id, "true").returncode == 0

    assert {path for path in peer.findings("exe") if "python" in path} == set()
    assert peer.findings("escaped") == set()


@pytest.mark.usefixtures("host_programs")
@pytest.mark.parametrize("how", ["run", "exec"])
def test_a_script_with_the_runtime_as_its_interpreter_runs_the_stub_not_python(bundle, machine, how):
    (bundle.rootfs / "script").write_text("#!/proc/self/exe\n")
    (bundle.rootfs / "script").chmod(0o755)

    if how == "run":
        result = machine.run(bundle, "exec /script")
    else:
        result = machine.exec(machine.start(bundle), "/script", timeout=5)

    assert "Python" not in result.stdout + result.stderr
    assert result.returncode != 0


@pytest.mark.usefixtures("host_programs")
def test_the_waiting_init_is_a_sealed_program(bundle, machine):
    id_ = machine.create(bundle, "true")
    exe = f"/proc/{machine.state(id_)['pid']}/exe"

    assert os.readlink(exe) == "/memfd:pyrun (deleted)"
    with pytest.raises((PermissionError, OSError)):
        os.close(os.open(exe, os.O_WRONLY))


@pytest.mark.usefixtures("host_programs")
@pytest.mark.needs("/proc/sys/vm/memfd_noexec")
def test_where_python_replaces_the_stub_a_peer_sees_an_interpreter_that_it_cannot_write_to(
    bundle, machine, compile_attacker, victim, full
):
    """The fallback; that the peer sees it at all is the positive control of the tests above."""
    for name in ("peer", "found"):
        (bundle.rootfs / name).write_bytes(compile_attacker("peer").read_bytes() if name == "peer" else b"")
        (bundle.rootfs / name).chmod(0o777)
    bundle.capabilities(*TRACER)
    bundle.process["args"] = ["/bin/sh", "-c", f"/peer {victim.path}/secret >>/found & exec sleep 1000"]
    bundle.save()
    id_, rounds = machine.new_id(), 300 if full else 10
    script = (
        f"{' '.join(machine.command('run', '--detach', '--bundle', bundle.path, id_))} </dev/null >/dev/null 2>&1 &&"
        f" until grep -q 'peer runs' {bundle.rootfs}/found; do sleep 0.1; done;"
        f" for n in $(seq {rounds}); do {' '.join(machine.command('exec', id_, 'true'))} || echo failed; done;"
        f" {' '.join(machine.command('delete', '--force', id_))}"
    )
    result = subprocess.run(without_executable_memfds("sh", "-c", script), capture_output=True, text=True)
    lines = [line.partition(" ")[::2] for line in (bundle.rootfs / "found").read_text().splitlines()]

    assert result.stdout == "", result.stderr
    assert any(kind == "cmdline" and "python" in words for kind, words in lines)
    assert {path for kind, path in lines if kind == "writable"} <= {"/peer", "/bin/busybox"}
    assert [path for kind, path in lines if kind == "escaped"] == [], lines


@pytest.mark.parametrize("verb", ["run", "exec"])
def test_in_a_shared_pid_namespace_a_peer_reads_no_path_and_no_secret_of_the_runtime(
    bundle, make_bundle, machine, watch, full, verb
):
    """P10: by cmdline and environ, while containers join its pid namespace and `exec` its container."""
    bundle.capabilities(*TRACER)
    peer = watch(bundle)
    other = make_bundle()
    other.namespace("pid", f"/proc/{machine.state(peer.id)['pid']}/ns/pid")
    environment = {"PATH": os.environ["PATH"], "SECRET": "hunter2"}
    for _ in range(100 if full else 12):
        if verb == "run":
            assert machine.run(other, "true", env=environment).returncode == 0
        else:
            assert machine.exec(peer.id, "true", env=environment).returncode == 0
    words = peer.findings("cmdline") | peer.findings("environ")

    assert any(line.startswith("/peer ") for line in words)  # so they have looked
    told = [line for line in words if not line.startswith(("/peer ", "/bin/sh -c /peer ", "/bin/busybox"))]
    assert not [line for line in told if machine.root in line or "hunter2" in line or "python" in line], told
    assert not [line for line in told if str(bundle.path.parent) in line], told


@pytest.mark.parametrize("no_new_privileges", [True, False])
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_filter_that_allows_nothing_but_execve_and_the_end_is_enough(
    bundle, machine, compile_attacker, verb, no_new_privileges
):
    """P9: between the filter and the program the runtime makes no other call."""
    program = compile_attacker("exits", "-static", "-nostdlib")
    (bundle.rootfs / "exits").write_bytes(program.read_bytes())
    (bundle.rootfs / "exits").chmod(0o755)
    bundle.process["noNewPrivileges"] = no_new_privileges
    rule = {"names": ["execve", "exit_group"], "action": "SCMP_ACT_ALLOW"}
    filter_ = {"defaultAction": "SCMP_ACT_KILL_PROCESS", "syscalls": [rule]}
    if verb == "run":
        bundle.linux["seccomp"] = filter_
        bundle.process["args"] = ["/exits"]
        result = machine.run(bundle)
    else:
        id_ = machine.start(bundle)
        config = Path(machine.root, id_, "config.json")
        changed = json.loads(config.read_text())
        changed["linux"]["seccomp"] = filter_
        config.write_text(json.dumps(changed))
        result = machine.exec(id_, "/exits")

    assert (result.returncode, result.stderr) == (7, "")


@pytest.mark.parametrize("how", ["overwritten", "replaced"])
def test_a_program_that_is_upgraded_while_it_makes_a_container_goes_on(bundle, machine, directory, how):
    """P4: it loads nothing of its file any more, so the versions do not mix."""
    program = directory / "upgraded"
    program.write_bytes(Path(machine.program).read_bytes())
    program.chmod(0o755)
    (directory / "new").write_bytes(bytes(program.stat().st_size))
    shell = {"overwritten": f"cat {directory}/new >{program}", "replaced": f"mv {directory}/new {program}"}[how]
    hooks = [{"path": "/bin/sh", "args": ["sh", "-c", shell]}]
    in_container = [{"path": "/bin/true", "args": ["true"]}]  # the init runs it, after the other one
    bundle.config["hooks"] = {"createRuntime": hooks, "createContainer": in_container}
    machine.program = str(program)
    result = machine.run(bundle, "echo ran")
    zeros = not any(program.read_bytes())
    program.write_bytes(under_test().read_bytes())

    assert zeros
    assert (result.returncode, result.stdout, result.stderr) == (0, "ran\n", "")
