"""Ids, the state directory, the cgroup of exec, pid files: nothing of them leads elsewhere."""

import json
import os
import stat
import subprocess
from pathlib import Path

import pytest
from hostile import HANG

IDS = ["..", ".", "", "a/b", "/etc", "../victim", "a\nb", "a b", "x" * 300, "\u00e9", "a;b", "a\\b", "\x1b[31m", "*"]


@pytest.mark.parametrize("verb", ["create", "run", "state", "delete", "start", "kill", "exec", "ps"])
@pytest.mark.parametrize("id_", IDS)
def test_an_id_that_is_no_name_is_refused(bundle, machine, victim, verb, id_):
    bundle.save()
    words = {"exec": [id_, "true"]}.get(verb, [id_])

    result = machine.pyrun(verb, *words, cwd=bundle.path)

    assert result.returncode in (1, 255)
    assert "invalid container id" in result.stderr
    assert "\n" not in result.stderr.strip()
    assert victim.is_untouched()


@pytest.mark.parametrize("root", ["/", ""])
def test_the_hosts_root_is_no_state_directory(bundle, machine, root):
    bundle.save()

    result = machine.pyrun("--root", root, "create", machine.new_id(), cwd=bundle.path)

    assert result.returncode == 1
    assert "invalid root" in result.stderr


def test_of_many_that_create_one_id_at_once_one_succeeds(bundle, machine):
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.save()
    id_ = machine.new_id()
    command = machine.command("create", "--bundle", bundle.path, id_)
    creators = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(20)
    ]

    statuses = [creator.wait(HANG) for creator in creators]

    assert sorted(statuses) == [0] + [1] * 19
    assert machine.state(id_)["status"] == "created"


STATES = {
    "garbage": b"garbage",
    "nothing": b"",
    "not an object": b"[]",
    "binary": bytes(range(256)),
    "deep": b"[" * 100000,
    "an empty object": b"{}",
    "huge": None,
}
CHANGES = {
    "pid": [-1, 1 << 40, "1", None, True, 1.5],
    "startTime": [-1, "x", None],
    "creator": [[], [1], ["a", "b"], [1 << 70, 0], None],
    "hooks": [[], {"poststop": 1}, {"startContainer": [1]}],
    "cgroupPaths": [[], {"": 1}, None],
    "annotations": [[], {"a": 1}],
    "bundle": [1, None, "/nowhere"],
}
VERBS = ["state", "start", "delete", "kill", "exec", "ps", "list", "pause"]


def use(machine, verb, id_):
    words = {"exec": ["exec", id_, "true"], "list": ["list"], "kill": ["kill", id_, "0x"]}.get(verb, [verb, id_])
    result = machine.pyrun(*words)
    assert len(result.stderr.strip().splitlines()) <= 1
    return result


@pytest.mark.parametrize("kind", [*STATES, "fifo", "symlink", "directory", "device"])
def test_a_state_file_that_is_none_of_ours_is_refused_without_waiting(machine, victim, kind):
    directory = Path(machine.root) / "broken"
    directory.mkdir(parents=True)
    file = directory / "state.json"
    if kind == "fifo":
        os.mkfifo(file)
    elif kind == "symlink":
        file.symlink_to(victim.path / "secret")
    elif kind == "directory":
        file.mkdir()
    elif kind == "device":
        os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 5))
    elif kind == "huge":
        with open(file, "wb") as huge:
            huge.truncate(100 << 20)
    else:
        file.write_bytes(STATES[kind])

    for verb in VERBS:
        if verb != "delete":
            use(machine, verb, "broken")

    assert victim.is_untouched()
    subprocess.run(["rm", "-r", str(directory)], check=True)


@pytest.mark.parametrize(("name", "value"), [(name, value) for name in CHANGES for value in CHANGES[name]])
def test_a_state_with_a_wrong_value_is_refused_in_one_line(bundle, machine, name, value):
    id_ = machine.create(bundle, "sleep 100")
    file = Path(machine.root) / id_ / "state.json"
    before = file.read_text()
    file.write_text(json.dumps({**json.loads(before), name: value}))

    for verb in ("state", "exec", "ps", "list"):
        use(machine, verb, id_)
    file.write_text(before)


def test_a_pid_that_has_become_another_processs_is_not_signalled(bundle, machine):
    id_ = machine.create(bundle, "sleep 100")
    file = Path(machine.root) / id_ / "state.json"
    before = json.loads(file.read_text())
    bystander = subprocess.Popen(["sleep", "100"])
    file.write_text(json.dumps({**before, "pid": bystander.pid}))

    killed = machine.pyrun("kill", id_, "KILL")
    executed = machine.exec(id_, "true")
    alive = bystander.poll() is None
    bystander.kill()
    bystander.wait()
    file.write_text(json.dumps(before))

    assert alive
    assert "container not running" in killed.stderr
    assert "stopped container" in executed.stderr


def test_states_and_their_directories_are_for_root_alone(bundle, machine):
    id_ = machine.create(bundle, "true", preexec_fn=lambda: os.umask(0))
    directory = f"{machine.root}/{id_}"

    assert stat.S_IMODE(os.stat(machine.root).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(directory).st_mode) == 0o700
    assert stat.S_IMODE(os.stat(f"{directory}/state.json").st_mode) == 0o600


def test_no_socket_of_ours_has_an_abstract_name(bundle, machine):
    machine.create(bundle, "true")

    assert "@pyrun" not in Path("/proc/net/unix").read_text()
    assert not [line for line in Path("/proc/net/unix").read_text().splitlines() if "@" in line and "gate" in line]


@pytest.mark.parametrize("planted", ["symlink", "fifo", "temporary symlink", "directory"])
def test_a_pid_file_does_not_follow_what_is_planted_in_its_place(bundle, machine, victim, planted):
    public = bundle.path / "public"
    public.mkdir()
    public.chmod(0o1777)
    if planted == "symlink":
        (public / "pid").symlink_to(victim.path / "secret")
    elif planted == "temporary symlink":
        (public / ".pid").symlink_to(victim.path / "secret")
    elif planted == "fifo":
        os.mkfifo(public / "pid")
    else:
        (public / "pid").mkdir()
    bundle.config["process"]["args"] = ["/bin/sleep", "100"]
    bundle.save()
    id_ = machine.new_id()

    created = machine.pyrun(
        "create", "--bundle", bundle.path, "--pid-file", public / "pid", id_, stdout=subprocess.DEVNULL, stderr=None
    )

    assert victim.is_untouched()
    if created.returncode == 0:
        assert (public / "pid").read_text() == str(machine.state(id_)["pid"])
        assert not (public / "pid").is_symlink()
    else:
        assert not os.path.exists(f"{machine.root}/{id_}")


def test_a_pid_file_that_cannot_be_leaves_nothing_beside_it(bundle, machine):
    public = bundle.path / "public"
    (public / "pid").mkdir(parents=True)
    bundle.save()
    created = machine.pyrun("create", "--bundle", bundle.path, "--pid-file", public / "pid", machine.new_id())

    assert created.returncode == 1
    assert str(public / "pid") in created.stderr
    assert os.listdir(public) == ["pid"]


@pytest.mark.parametrize("call", ["openat", "write", "linkat", "close"])
def test_a_runtime_that_is_killed_at_its_pid_file_leaves_nothing_beside_it(bundle, machine, call):
    public = bundle.path / "public"
    public.mkdir()
    bundle.save()
    id_ = machine.new_id()
    strace = ["strace", "-o", "/dev/null", "-P", public, "-P", public / "pid", "-P", public / ".pid"]
    command = [*strace, "-e", f"inject={call}:signal=KILL", *machine.command("create")]
    subprocess.run(
        [*command, "--bundle", bundle.path, "--pid-file", public / "pid", id_],
        **dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL),
    )

    assert set(os.listdir(public)) <= {"pid"}
    assert machine.pyrun("delete", "--force", id_).returncode == 0


@pytest.mark.parametrize("path", ["..", "../..", "a/../../b", "/..", "../../../..", "cpu:..", "nothing:x", "missing"])
def test_exec_joins_no_cgroup_but_one_below_the_containers(bundle, machine, path):
    id_ = machine.start(bundle)

    result = machine.exec(id_, "true", options=("--cgroup", path))

    assert result.returncode == 255
    assert "cgroup" in result.stderr


@pytest.mark.parametrize("path", ["..", "../x", "/a/../../x", "/", "", "a\nb", "./."])
def test_a_cgroups_path_stays_below_its_beginning(bundle, machine, path):
    bundle.config["linux"]["cgroupsPath"] = path

    result = machine.run(bundle, "true")

    assert (result.returncode == 1 and "cgroup" in result.stderr) or path == ""


def test_the_state_directory_and_the_gate_are_not_in_the_container(bundle, machine):
    id_ = machine.create(bundle, "true")
    found = machine.exec(id_, "sh", "-c", "ls -l /proc/self/fd; ls /run; cat /proc/mounts; cat /proc/net/unix")

    assert machine.root not in found.stdout
    assert "gate" not in found.stdout
