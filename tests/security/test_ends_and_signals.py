"""Runtimes that are killed or signalled while they make a container, cgroups that are shared, ids that are reused."""

import json
import os
import re
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import wait_until
from hostile import HANG

NO_STREAMS = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cgroups(name):
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{name}")]


def waiting_inits():
    """Return the pids of inits that wait to be started, of any runtime on this machine."""
    found = set()
    for path in Path("/proc").glob("[0-9]*/comm"):
        try:
            if path.read_text() == "pyrun:[init]\n":
                found.add(int(path.parent.name))
        except (FileNotFoundError, ProcessLookupError):
            pass  # it has ended
    return found


def below(rootfs, pids):
    """Return those of `pids` whose root is mounted from `rootfs`."""
    found = []
    for pid in pids:
        try:
            if f" {rootfs} / " in Path(f"/proc/{pid}/mountinfo").read_text():
                found.append(pid)
        except OSError:
            pass  # it ends: EINVAL, or has ended: ENOENT, ESRCH
    return found


def killed_after(machine, bundle, id_, call, number, options=()):
    """Create a container, killed at the `number`th time that the runtime itself makes the call."""
    strace = ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when={number}"]
    command = [*strace, *machine.command(*options, "create", "--bundle", bundle.path, id_)]
    return subprocess.run(command, timeout=HANG, **NO_STREAMS).returncode


@pytest.mark.parametrize("call", ["recvmsg", "write", "rename", "sendmsg", "unlink"])
def test_without_cgroups_a_killed_runtime_leaves_no_init_that_waits_for_ever(bundle, machine, call):
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    left, killed = [], 0
    for number in range(1, 14):
        id_ = machine.new_id()
        if killed_after(machine, bundle, id_, call, number, ["--cgroup-manager", "disabled"]) == 0:
            break
        killed += 1
        deleted = machine.pyrun("--cgroup-manager", "disabled", "delete", "--force", id_)
        assert deleted.returncode == 0, deleted.stderr
        deadline = time.monotonic() + 5
        while (found := below(bundle.rootfs, waiting_inits())) and time.monotonic() < deadline:
            time.sleep(0.02)
        left += [(number, pid) for pid in found]
        for pid in found:
            os.kill(pid, 9)

    assert killed
    assert left == []


@pytest.fixture
def shared(make_bundle):
    """Two bundles with the same linux.cgroupsPath."""
    bundles = make_bundle(), make_bundle()
    for bundle in bundles:
        bundle.config["linux"]["cgroupsPath"] = f"/attack-{os.getpid()}-shared"
    return bundles


def stopped(machine, bundle):
    id_ = machine.start(bundle)
    os.kill(machine.state(id_)["pid"], signal.SIGKILL)
    wait_until(lambda: machine.state(id_)["status"] == "stopped")
    return id_


@pytest.mark.parametrize("force", [(), ("--force",)], ids=["delete", "delete --force"])
@pytest.mark.parametrize("pids", ["own", "of the host"])
def test_deleting_a_stopped_container_spares_the_one_in_the_same_cgroup(shared, machine, force, pids):
    first, second = shared
    if pids == "of the host":
        first.without_namespace("pid")
    old = stopped(machine, first)
    new = machine.start(second)
    pid = machine.state(new)["pid"]
    began = time.monotonic()
    deleted = machine.pyrun("delete", *force, old)

    assert deleted.returncode == 0
    assert time.monotonic() - began < 5
    assert machine.state(new)["status"] == "running"
    assert is_alive(pid)
    assert cgroups(f"attack-{os.getpid()}-shared")
    assert machine.pyrun("delete", "--force", new).returncode == 0
    assert cgroups(f"attack-{os.getpid()}-shared") == []


@pytest.mark.parametrize("paused", [False, True], ids=["running", "paused"])
@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_cgroup_in_use_is_refused_at_once_and_stays_as_it_is(shared, machine, verb, paused):
    first, second = shared
    owner = machine.start(first)
    children = [Path(path) / "child" for path in cgroups(f"attack-{os.getpid()}-shared")]
    for child in children:
        child.mkdir()
    if paused:
        machine.pyrun("pause", owner)
    second.save()
    id_ = machine.new_id()
    began = time.monotonic()
    refused = machine.pyrun(verb, "--bundle", second.path, id_)

    assert refused.returncode == 1
    assert "container's cgroup is not empty: 1 process(es) found" in refused.stderr
    assert time.monotonic() - began < 5
    assert not os.path.exists(f"{machine.root}/{id_}")
    assert all(child.is_dir() for child in children)
    assert machine.state(owner)["status"] == ("paused" if paused else "running")


def test_an_empty_cgroup_that_is_frozen_is_refused_and_stays_as_it_is(bundle, machine):
    frozen = Path(f"/sys/fs/cgroup/freezer/attack-{os.getpid()}-frozen")
    if not frozen.parent.is_dir():
        frozen = Path(f"/sys/fs/cgroup/attack-{os.getpid()}-frozen")
    frozen.mkdir()
    file = frozen / ("freezer.state" if (frozen / "freezer.state").exists() else "cgroup.freeze")
    file.write_text("FROZEN" if file.name == "freezer.state" else "1")
    bundle.config["linux"]["cgroupsPath"] = f"/{frozen.name}"
    result = machine.run(bundle, "true")
    state = file.read_text().strip()
    frozen.rmdir()

    assert result.returncode == 1
    assert "container's cgroup unexpectedly frozen" in result.stderr
    assert state in ("FROZEN", "1")
    assert cgroups(frozen.name) == []


@pytest.mark.parametrize("call", ["mkdir", "openat", "rename"])
def test_one_that_was_refused_is_not_the_owner_of_the_cgroup(shared, machine, call):
    """The second is killed anywhere on its way to being refused; deleting it must spare the first."""
    first, second = shared
    owner = machine.start(first)
    second.config["process"]["args"] = ["/bin/sleep", "1000"]
    second.save()
    for number in (*range(1, 6), *range(6, 60, 6)):
        id_ = machine.new_id()
        if killed_after(machine, second, id_, call, number) == 1:
            break
        assert machine.pyrun("delete", "--force", id_).returncode == 0
        assert machine.state(owner)["status"] == "running"


@pytest.mark.parametrize("sent", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGINT, signal.SIGTERM)])
def test_signals_to_a_process_group_leave_nothing_of_a_container_that_is_being_made(bundle, machine, full, sent):
    """Each comes twice: to the group, and from the kernel when the caller of the child has ended."""
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.config["hooks"] = {"poststart": [{"path": "/bin/true"}]}
    bundle.save()
    rounds = 100 if full else 16
    left = []
    for number in range(rounds):
        id_ = machine.new_id()
        command = machine.command("run", "--detach", "--bundle", bundle.path, id_)
        runtime = subprocess.Popen(command, start_new_session=True, **NO_STREAMS)
        time.sleep(0.08 * number / rounds)
        for one in sent:
            try:
                os.killpg(runtime.pid, one)
            except ProcessLookupError:
                pass  # all have ended
        status = runtime.wait(HANG)
        if status == 0:
            assert machine.state(id_)["status"] == "running"
            assert machine.pyrun("delete", "--force", id_).returncode == 0
            continue
        wait_until(lambda runtime=runtime: group_is_gone(runtime.pid))
        left += [id_] if os.path.exists(f"{machine.root}/{id_}") else []
        left += cgroups(id_)

    assert left == []


def test_a_signal_while_the_runtime_becomes_the_monitor_leaves_nothing(bundle, machine):
    """It comes right after each change of the mask of signals, in the runtime and in its caller."""
    bundle.config["process"]["args"] = ["/bin/true"]  # strace waits for it, too
    bundle.save()
    left = []
    for number in range(1, 30):
        id_ = machine.new_id()
        fault = f"inject=rt_sigprocmask:signal=INT:when={number}"
        strace = ["strace", "-fqq", "-o", "/dev/null", "-e", "trace=rt_sigprocmask", "-e", fault]
        command = [*strace, *machine.command("run", "--detach", "--bundle", bundle.path, id_)]
        status = subprocess.run(command, timeout=HANG, start_new_session=True, **NO_STREAMS).returncode
        if status == 0:
            assert machine.pyrun("delete", "--force", id_).returncode == 0
        left += [(number, id_)] if os.path.exists(f"{machine.root}/{id_}") else []

    assert left == []
    assert status == 0  # so many changes there are not


def group_is_gone(group):
    for path in Path("/proc").glob("[0-9]*/stat"):
        try:
            fields = path.read_text().rpartition(")")[2].split()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(fields[2]) == group and fields[0] not in "ZX":
            return False
    return True


def test_a_caller_that_dies_before_the_kernel_is_told_to_watch_it_leaves_no_container(bundle, machine, tmp_path):
    """PR_SET_PDEATHSIG comes too late for a parent that has ended already."""
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    id_ = machine.new_id()
    trace = tmp_path / "trace"
    strace = ["strace", "-f", "-o", str(trace), "-e", "trace=prctl", "-e", "inject=prctl:delay_enter=1500000:when=1"]
    command = [*strace, *machine.command("run", "--detach", "--bundle", bundle.path, id_)]
    tracer = subprocess.Popen(command, start_new_session=True, **NO_STREAMS)
    wait_until(lambda: trace.exists() and "PR_SET_PDEATHSIG" in trace.read_text())
    child = int(re.search(r"(\d+) +prctl\(PR_SET_PDEATHSIG", trace.read_text())[1])
    parent = int(Path(f"/proc/{child}/stat").read_text().rpartition(")")[2].split()[1])
    os.kill(parent, signal.SIGKILL)
    tracer.wait(HANG)
    wait_until(lambda: not is_alive(child))

    assert not os.path.exists(f"{machine.root}/{id_}")
    assert cgroups(id_) == []


@pytest.mark.parametrize("what", ["its record", "its directory"])
def test_a_monitor_that_cannot_form_leaves_no_container_and_says_why(bundle, machine, what):
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    id_ = machine.new_id()
    record = ["-P", f"{machine.root}/{id_}/exit", "-e", "inject=openat:error=ENOMEM:when=2"]  # 1 makes it
    directory = ["-P", "/", "-e", "inject=chdir:error=ENOMEM"]
    strace = ["strace", "-f", "-o", "/dev/null", *(record if what == "its record" else directory)]
    command = [*strace, *machine.command("run", "--detach", "--bundle", bundle.path, id_)]
    with open(bundle.path / "stderr", "w+") as stderr:
        ran = subprocess.run(command, timeout=HANG, **{**NO_STREAMS, "stderr": stderr})
        stderr.seek(0)
        message = stderr.read()

    assert ran.returncode == 1
    assert "Cannot allocate memory" in message
    assert not os.path.exists(f"{machine.root}/{id_}")
    assert cgroups(id_) == []


def test_an_undo_that_cannot_remove_the_cgroup_keeps_the_state(bundle, machine):
    holder = subprocess.Popen(["sleep", "1000"])
    script = f"echo {holder.pid} > /sys/fs/cgroup/pids/$0/cgroup.procs; exit 1"
    id_ = machine.new_id()
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script, id_]}]}
    bundle.save()
    created = machine.pyrun("create", "--bundle", bundle.path, id_)
    state = Path(machine.root) / id_ / "state.json"
    kept = state.exists()
    holder.kill()
    holder.wait()
    deleted = machine.pyrun("delete", "--force", id_)

    assert created.returncode == 1
    assert kept
    assert (deleted.returncode, cgroups(id_)) == (0, [])


def test_a_late_deleter_spares_the_new_container_of_the_id(bundle, machine, tmp_path):
    """The first `delete` is stopped between reading the state and locking it; meanwhile the id is used again."""
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    id_ = machine.start(bundle)
    trace = tmp_path / "trace"
    strace = ["strace", "-o", str(trace), "-e", "trace=flock", "-e", "inject=flock:delay_enter=3000000"]
    late = subprocess.Popen([*strace, *machine.command("delete", "--force", id_)], **NO_STREAMS)
    wait_until(lambda: trace.exists() and "flock" in trace.read_text())
    assert machine.pyrun("delete", "--force", id_).returncode == 0
    ran = subprocess.run(machine.command("run", "-d", "--bundle", str(bundle.path), id_), timeout=HANG, **NO_STREAMS)
    late_status = late.wait(HANG)

    assert (ran.returncode, late_status) == (0, 0)
    assert machine.state(id_)["status"] == "running"


def test_a_deleter_whose_container_was_replaced_before_it_locked_spares_the_new_one(bundle, machine, tmp_path):
    """As above, but stopped before it opens the directory that it locks: this is the new container's."""
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    id_ = machine.start(bundle)
    machine.pyrun("kill", id_, "KILL")
    wait_until(lambda: machine.state(id_)["status"] == "stopped")
    directory = f"{machine.root}/{id_}"
    trace = tmp_path / "trace"
    strace = ["strace", "-o", str(trace), "-P", directory, "-e", "trace=openat"]
    strace += ["-e", "inject=openat:delay_enter=3000000"]
    late = subprocess.Popen([*strace, *machine.command("delete", "--force", id_)], **NO_STREAMS)
    wait_until(lambda: trace.exists() and "O_DIRECTORY" in trace.read_text())
    assert machine.pyrun("delete", "--force", id_).returncode == 0
    ran = subprocess.run(machine.command("run", "-d", "--bundle", str(bundle.path), id_), timeout=HANG, **NO_STREAMS)
    late_status = late.wait(HANG)

    assert (ran.returncode, late_status) == (0, 0)
    assert machine.state(id_)["status"] == "running"


@pytest.mark.parametrize("error", ["ESRCH"])
def test_an_init_that_ends_while_it_is_being_killed_is_deleted(bundle, machine, error):
    id_ = machine.start(bundle)
    strace = ["strace", "-o", "/dev/null", "-e", f"inject=pidfd_send_signal:error={error}:when=1"]
    pid = machine.state(id_)["pid"]
    os.kill(pid, signal.SIGKILL)
    wait_until(lambda: not is_alive(pid))
    deleted = subprocess.run([*strace, *machine.command("delete", "--force", id_)], timeout=HANG)

    assert deleted.returncode == 0
    assert json.loads(machine.pyrun("list", "--format", "json").stdout or "null") is None
