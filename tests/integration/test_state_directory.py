"""The state directory: one creator per id, a status that is true whatever was killed, and nothing left behind."""

import ctypes
import json
import os
import socket
import stat
import subprocess
import time
from pathlib import Path

import pytest
from harness import TIMEOUT, mounts_below, wait_until

pytestmark = [pytest.mark.needs("root", "/bin/busybox"), pytest.mark.only_pyrun("the files are pyrun's own")]

PR_SET_CHILD_SUBREAPER = 36
PIPES = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE, "text": True}


def state_file(container):
    return container.root / container.id / "state.json"


def test_what_is_in_it_is_private_whatever_the_umask(container):
    container.create(preexec_fn=lambda: os.umask(0))
    paths = [container.root, container.root / container.id, state_file(container)]

    assert [stat.S_IMODE(path.stat().st_mode) for path in paths] == [0o700, 0o700, 0o600]


def test_of_fifty_who_create_one_id_one_wins(container, bundle):
    bundle.process["args"] = ["sleep", "1000"]
    bundle.save()
    command = container.command("create", "--bundle", bundle.path, "--pid-file", container.pid_file, container.id)
    messages = [open(bundle.path / f"messages{number}", "w+") for number in range(50)]
    creators = [subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=file, stderr=file) for file in messages]
    statuses = [creator.wait(TIMEOUT) for creator in creators]
    said = []
    for file in messages:
        file.seek(0)
        said.append(file.read())
        file.close()

    assert sorted(statuses) == [0] + [1] * 49
    assert sorted(said) == [""] + [f"error: container with given ID already exists: {container.id}\n"] * 49
    assert container.status() == "created"
    assert container.state()["pid"] == container.pid()


@pytest.mark.parametrize("verb", ["create", "run"])
def test_a_container_whose_init_was_killed_is_stopped(container, bundle, verb):
    bundle.process["args"] = ["sleep", "1000"]
    if verb == "create":
        container.create()
    else:
        container.run_detached()
    os.kill(container.pid(), 9)

    container.wait_until("stopped")


def test_another_process_with_the_pid_is_not_the_container(container):
    before = container.create().state()
    stored = json.loads(state_file(container).read_text())
    state_file(container).write_text(json.dumps({**stored, "startTime": stored["startTime"] + 1}))
    state = container.state()
    message = container.fails("kill", container.id, "KILL")
    state_file(container).write_text(json.dumps(stored))

    assert before["status"] == "created"
    assert (state["status"], state["pid"]) == ("stopped", 0)
    assert message == "error: container not running"
    assert container.status() == "created"


def test_a_creator_that_is_gone_makes_a_stopped_container(container):
    container.create()
    stored = json.loads(state_file(container).read_text())
    state_file(container).write_text(json.dumps({**stored, "creator": [os.getpid(), 1]}))
    status = container.status()
    state_file(container).write_text(json.dumps(stored))

    assert status == "stopped"


def plant_fifo(path):
    os.mkfifo(path)


def plant_symlink(path):
    path.symlink_to("/etc/passwd")


def plant_socket(path):
    with socket.socket(socket.AF_UNIX) as bound:
        bound.bind(str(path))


def plant_directory(path):
    path.mkdir()


def plant_garbage(path):
    path.write_bytes(os.urandom(1000))


def plant_half(path):
    path.write_text('{"ociVersion": "1.3.0", "id": ')


PLANTS = [plant_fifo, plant_symlink, plant_socket, plant_directory, plant_garbage, plant_half]


@pytest.mark.parametrize("plant", PLANTS)
@pytest.mark.parametrize("verb", ["state", "start", "kill", "exec", "delete"])
def test_a_state_that_is_none_is_an_error_that_names_the_file(container, plant, verb):
    state_file(container).parent.mkdir(parents=True)
    plant(state_file(container))
    words = ["true"] if verb == "exec" else []
    message = container.fails(verb, container.id, *words, status=255 if verb == "exec" else 1)
    if plant is plant_directory:
        state_file(container).rmdir()

    assert str(state_file(container)) in message
    assert state_file(container).parent.exists()


@pytest.mark.parametrize("plant", [plant for plant in PLANTS if plant is not plant_directory])
def test_a_state_that_is_none_is_deleted_by_force(container, plant):
    state_file(container).parent.mkdir(parents=True)
    plant(state_file(container))
    container.delete("--force")

    assert os.listdir(container.root) == []


def test_a_broken_state_does_not_hide_the_other_containers(new_container):
    good, broken = new_container().create(), new_container()
    state_file(broken).parent.mkdir()
    plant_fifo(state_file(broken))

    assert good.works("list", "--quiet").split() == [good.id]


@pytest.mark.parametrize(
    ("name", "value"), [("listener", []), ("listener", None), ("intelRdt", {"x": []}), ("hooks", {"poststop": [{}]})]
)
def test_a_state_with_wrong_content_is_named_and_does_not_hide_the_others(new_container, name, value):
    good, broken = new_container().create(), new_container().create()
    stored = json.loads(state_file(broken).read_text())
    state_file(broken).write_text(json.dumps({**stored, name: value}))
    listed = good.call("list")
    message = good.fails("state", broken.id)
    state_file(broken).write_text(json.dumps(stored))

    assert listed.returncode == 0
    assert [line.split()[0] for line in listed.stdout.splitlines()] == ["ID", good.id]
    (line,) = listed.stderr.splitlines()
    assert f"load container {broken.id}: " in line
    assert str(state_file(broken)) in line
    assert name in line
    assert name in message


def test_what_is_deleted_while_its_state_is_asked_for_does_not_exist(container, bundle, tmp_path):
    """`state` has read the state, and waits where it opens the record of the end."""
    bundle.process["args"] = ["true"]
    container.works("run", "--detach", "--bundle", bundle.path, container.id)
    container.wait_until("stopped")
    trace = tmp_path / "trace"
    path = container.root / container.id / "exit"
    strace = ["strace", "-o", trace, "-P", path, "-e", "trace=openat", "-e", "inject=openat:delay_enter=2000000"]
    asking = [
        subprocess.Popen(
            [*strace, *container.command(*words)], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
        )
        for words in (["state", container.id], ["list", "--format", "json"])
    ]
    wait_until(lambda: trace.exists() and "exit" in trace.read_text(), "it asks")
    time.sleep(0.5)
    container.delete()
    (_, message), (listed, nothing) = [one.communicate(timeout=TIMEOUT) for one in asking]

    assert message == f"error: container does not exist: {container.id}\n"
    assert (listed, nothing) == ("null\n", "")


def test_a_directory_without_a_state_is_deleted_by_force(container):
    state_file(container).parent.mkdir(parents=True)
    container.delete("--force")

    assert os.listdir(container.root) == []


@pytest.fixture
def orphans():
    """Become the parent of all orphans; return what tells whether any of them is left."""
    prctl = ctypes.CDLL(None).prctl
    prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before = children()  # daemons of other tests

    def left():
        for pid in children() - before:
            os.waitpid(pid, os.WNOHANG)
        return bool(children() - before)

    yield left
    prctl(PR_SET_CHILD_SUBREAPER, 0, 0, 0, 0)


def children():
    """Return the pids of this process's children."""
    return {int(pid) for pid in os.listdir("/proc") if pid.isdigit() and parent(pid) == os.getpid()}


def parent(pid):
    try:
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    except (FileNotFoundError, ProcessLookupError):
        return 0


def time_of_create(container):
    begin = time.monotonic()
    container.create()
    duration = time.monotonic() - begin
    container.delete("--force")
    return duration


def test_a_create_that_is_killed_at_any_moment_leaves_nothing_to_delete_force(container, bundle, orphans, full):
    rounds = 300 if full else 15
    bundle.mount("/mnt", "tmpfs", "tmpfs")
    duration = time_of_create(container)
    command = container.command("create", "--bundle", bundle.path, container.id)
    left = []
    for number in range(rounds):
        creator = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(duration * 1.2 * number / rounds)
        creator.kill()
        creator.wait(TIMEOUT)
        container.delete("--force")
        wait_until(lambda: not orphans(), f"no process is left of round {number}")
        left += os.listdir(container.root) if container.root.exists() else []
        left += container.cgroups() + mounts_below(bundle.path)

    assert left == []


def test_a_killed_create_does_not_take_the_id_for_good(container, bundle, orphans):
    command = container.command("create", "--bundle", bundle.path, container.id)
    hook = bundle.path / "hook.pid"
    script = f"echo $$ > {hook}.new; mv {hook}.new {hook}; exec sleep 1000"
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    bundle.save()
    creator = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    wait_until(hook.exists, "the hook runs")
    before = container.status()
    creator.kill()
    creator.wait(TIMEOUT)
    os.kill(int(hook.read_text()), 9)  # a process of the host, which no delete looks for
    status = container.status()
    container.delete()
    del bundle.config["hooks"]
    container.create()

    assert (before, status) == ("creating", "stopped")
    assert container.status() == "created"


def test_a_state_of_a_version_that_gave_exec_no_keyring_is_read(container):
    container.sleeping()
    path = container.root / container.id / "state.json"
    state = json.loads(path.read_text())
    for name in ("keyring", "reusesCgroup", "criu"):
        del state[name]
    path.write_text(json.dumps(state))

    assert container.exec("echo", "here") == "here\n"
    container.works("delete", "--force", container.id)
