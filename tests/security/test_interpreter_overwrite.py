"""CVE-2019-5736: the container reaches the runtime's own executable by /proc/PID/exe, and overwrites it for the host.

For a runtime in Python that would be the host's python3. What a peer in the container may see is the last mile, a
sealed memfd, and nothing of any process before.
"""

import hashlib
import os
import subprocess
from pathlib import Path

import pytest
from hostile import PYRUN, wait_until

# As Docker gives them with --cap-add SYS_PTRACE. With CAP_SYS_ADMIN too, and no user namespace, nothing is kept in.
TRACER = (
    "CAP_SYS_PTRACE CAP_CHOWN CAP_DAC_OVERRIDE CAP_FSETID CAP_FOWNER CAP_MKNOD CAP_NET_RAW CAP_SETGID CAP_SETUID "
    "CAP_SETFCAP CAP_SETPCAP CAP_NET_BIND_SERVICE CAP_SYS_CHROOT CAP_KILL CAP_AUDIT_WRITE"
).split()


def all_capabilities():
    names = Path(__file__).resolve().parents[2] / "runtime"
    program = f"import sys; sys.path[:0] = [{str(names)!r}]; from pyrun.confine.capabilities import *\n"
    program += "print(*CAPABILITIES)"
    return subprocess.run(["/usr/bin/python3", "-c", program], capture_output=True, text=True).stdout.split()


@pytest.fixture
def host_programs():
    """The interpreter, each library that it maps, and pyrun itself are the same after the test."""
    before = digests()
    yield
    assert digests() == before


def digests():
    show = "import os, ctypes; print(os.path.realpath('/proc/self/exe')); print(open('/proc/self/maps').read())"
    output = subprocess.run(["/usr/bin/python3", "-IS", "-c", show], capture_output=True, text=True).stdout
    files = {word for word in output.split() if word.startswith("/")} | {PYRUN}
    return {path: hashlib.sha256(Path(path).read_bytes()).hexdigest() for path in files if os.path.isfile(path)}


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
    assert peer.findings("exe") <= programs
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

    own = {"/dev/null", "/found", "/proc", str(bundle.path / "stderr")}
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
        other.namespaces(pid=f"/proc/{pid}/ns/pid", user=f"/proc/{pid}/ns/user")
    else:
        other.namespaces(pid=f"/proc/{pid}/ns/pid")

    for _ in range(100 if full else 15):
        assert machine.run(other, "true").returncode == 0

    assert_nothing_was_found(peer)


@pytest.mark.usefixtures("host_programs")
def test_in_the_hosts_pid_namespace_a_peer_may_not_look_at_interpreters(bundle, machine, watch, full):
    bundle.namespaces(pid=None)
    peer = watch(bundle)

    exec_many(machine, peer.id, 500 if full else 30)

    assert {path for path in peer.findings("exe") if "python" in path} == set()
    assert peer.findings("escaped") == set()


@pytest.mark.usefixtures("host_programs")
def test_in_the_hosts_pid_namespace_root_of_a_user_namespace_may_not_look_at_who_joins_it(
    bundle, make_bundle, machine, watch, full
):
    bundle.user_namespace()
    bundle.namespaces(pid=None)
    bundle.capabilities(*all_capabilities())
    bundle.without_mount("/proc")
    bundle.config["mounts"].insert(0, {"destination": "/proc", "source": "/proc", "options": ["rbind"]})
    peer = watch(bundle)
    pid = machine.state(peer.id)["pid"]
    other = make_bundle()
    other.user_namespace()
    other.config["mounts"] = bundle.config["mounts"]
    other.namespaces(pid=None, user=f"/proc/{pid}/ns/user")

    for _ in range(100 if full else 20):
        assert machine.run(other, "true").returncode == 0
        assert machine.exec(peer.id, "true").returncode == 0

    assert {path for path in peer.findings("exe") if "python" in path} == set()
    assert peer.findings("escaped") == set()


@pytest.mark.usefixtures("host_programs")
@pytest.mark.parametrize("how", ["run", "exec"])
def test_a_script_with_the_runtime_as_its_interpreter_runs_the_last_mile_not_python(bundle, machine, how):
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
