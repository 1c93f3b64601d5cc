"""A state directory on a full disk, states that were cut or damaged: no container is lost, none becomes immortal."""

import json
import os
import resource
import subprocess
from pathlib import Path

import pytest
from harness import wait_until
from hostile import HANG, Machine

PAGE = 4096
NO_STREAMS = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)


@pytest.fixture
def small_disk(directory):
    """Mount a tmpfs of a number of pages, and return the Machine whose state directory it is."""
    path = directory / "small"
    path.mkdir()
    machines = []

    def small_disk(pages):
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={pages * PAGE}", "none", path], check=True)
        machines.append(Machine(path / "run"))
        return machines[-1]

    yield small_disk
    for machine in machines:
        machine.clean()
        subprocess.run(["umount", "--lazy", path], check=True)


def is_alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):
        return False


def cgroups(id_):
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{id_}")]


@pytest.mark.parametrize("pages", range(3, 12))
@pytest.mark.parametrize("verb", ["create", "run"])
def test_on_a_full_disk_there_is_a_whole_container_or_none(bundle, small_disk, verb, pages):
    machine = small_disk(pages)
    bundle.config["annotations"] = {"large": "x" * 6000}
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    id_ = machine.new_id()
    options = ["--detach"] if verb == "run" else []
    with open(bundle.path / "stderr", "w+") as stderr:
        made = machine.pyrun(verb, *options, "--bundle", bundle.path, id_, stdout=subprocess.DEVNULL, stderr=stderr)
        stderr.seek(0)
        message = stderr.read()

    if made.returncode == 0:
        pid = machine.state(id_)["pid"]
        assert machine.pyrun("delete", "--force", id_).returncode == 0
        assert wait_until(lambda: not is_alive(pid))
    else:
        assert "No space left on device" in message
        assert id_ in message or "gate" in message
    assert os.listdir(machine.root) == []
    assert wait_until(lambda: not cgroups(id_))


def test_the_disk_is_small_enough_to_fail_and_large_enough_not_to(bundle, small_disk):
    """What the test above needs to say anything."""
    statuses = set()
    bundle.config["annotations"] = {"large": "x" * 6000}
    for pages in (3, 11):
        machine = small_disk(pages)
        bundle.save()
        created = machine.pyrun(
            "create", "--bundle", bundle.path, machine.new_id(), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        statuses.add(created.returncode)
        machine.clean()

    assert statuses == {0, 1}


def test_a_limit_on_the_size_of_files_cuts_no_new_config(machine, directory):
    made = machine.pyrun(
        "spec", "--bundle", directory, preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (100, 100))
    )

    assert made.returncode == 1
    assert made.stderr == f"error: {directory}/config.json: File too large\n"
    assert not (directory / "config.json").exists()


def test_a_limit_on_the_size_of_files_cuts_no_state(bundle, machine):
    bundle.config["annotations"] = {"large": "x" * 6000}
    bundle.save()
    for size in (0, 100, 5000):
        created = machine.pyrun(
            "create",
            "--bundle",
            bundle.path,
            machine.new_id(),
            preexec_fn=lambda size=size: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
        )
        assert created.returncode == 1
        assert "File too large" in created.stderr

    assert os.listdir(machine.root) == []


@pytest.mark.parametrize("size", [66_000, 67_000, 68_000, 70_000])
def test_a_limit_on_the_size_of_files_cuts_no_stub(bundle, machine, size):
    bundle.config["process"]["env"] = ["PATH=/bin", *(f"V{number}={'x' * 100}" for number in range(50))]
    bundle.config["process"]["args"] = ["/bin/true"]
    bundle.save()

    result = machine.pyrun(
        "run",
        "--bundle",
        bundle.path,
        machine.new_id(),
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (size, size)),
    )

    assert (result.returncode, result.stderr) == (0, "") or "File too large" in result.stderr
    assert os.listdir(machine.root) == []


def test_an_exec_that_cannot_keep_a_changed_state_leaves_the_old_one(bundle, small_disk):
    machine = small_disk(8)
    given = bundle.path / "given"
    given.write_text("")
    id_ = machine.start(bundle)
    before = machine.state(id_)
    filler = Path(machine.root) / "filler"
    with open(filler, "wb", buffering=0) as file, pytest.raises(OSError):
        while True:
            file.write(b"x" * PAGE)
    mounted = machine.pyrun("mount", id_, given, "/tmp/" + "long" * 900)
    after = machine.state(id_)
    filler.unlink()

    assert mounted.returncode == 1
    assert after == before


DAMAGE = {
    "cut": lambda data: data[: len(data) // 2],
    "emptied": lambda data: b"",
    "zeroed": lambda data: bytes(len(data)),
    "without its pid": lambda data: json.dumps({**json.loads(data), "pid": None}).encode(),
    "with half a listener": lambda data: json.dumps({**json.loads(data), "listener": []}).encode(),
    "without a listener": lambda data: json.dumps({**json.loads(data), "listener": None}).encode(),
    "with a wrong intelRdt": lambda data: json.dumps({**json.loads(data), "intelRdt": {"x": []}}).encode(),
    "with a wrong hook": lambda data: json.dumps({**json.loads(data), "hooks": {"poststop": [{}]}}).encode(),
}


@pytest.mark.parametrize("damage", DAMAGE)
@pytest.mark.parametrize("started", [True, False], ids=["running", "created"])
def test_a_container_whose_state_was_damaged_is_found_by_its_cgroup(bundle, machine, damage, started):
    bundle.config["linux"]["cgroupsPath"] = f"/attack-{os.getpid()}-damaged"
    id_ = machine.start(bundle) if started else machine.create(bundle, "sleep 1000")
    pid = machine.state(id_)["pid"]
    file = Path(machine.root) / id_ / "state.json"
    file.write_bytes(DAMAGE[damage](file.read_bytes()))

    gently = machine.pyrun("delete", id_)
    alive = is_alive(pid)
    deleted = machine.pyrun("delete", "--force", id_)

    assert gently.returncode == 1 and "state.json" in gently.stderr
    assert alive
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert not os.path.exists(f"{machine.root}/{id_}")
    assert wait_until(lambda: not is_alive(pid))
    assert cgroups(f"attack-{os.getpid()}-damaged") == []


@pytest.mark.parametrize("lost", ["the config too", "a relative cgroup", "no cgroup"])
def test_a_container_that_cannot_be_found_is_not_called_deleted(bundle, machine, lost):
    slash = "" if lost == "a relative cgroup" else "/"
    bundle.config["linux"]["cgroupsPath"] = f"{slash}attack-{os.getpid()}-lost"
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    id_ = machine.new_id()
    manager = "disabled" if lost == "no cgroup" else "cgroupfs"
    command = machine.command("--cgroup-manager", manager, "run", "-d", "-b", bundle.path, id_)
    subprocess.run(command, check=True, timeout=HANG, **NO_STREAMS)
    pid = machine.state(id_)["pid"]
    directory = Path(machine.root) / id_
    kept = {name: (directory / name).read_bytes() for name in ("state.json", "config.json")}
    (directory / "state.json").write_bytes(b"{")
    if lost == "the config too":
        (directory / "config.json").write_bytes(b"{")
    elsewhere = {"preexec_fn": move_to_another_cgroup} if lost == "a relative cgroup" else {}

    deleted = machine.pyrun("delete", "--force", id_, **elsewhere)
    alive = is_alive(pid)
    for name, data in kept.items():
        (directory / name).write_bytes(data)

    assert deleted.returncode == 1
    assert f"{directory}/state.json" in deleted.stderr
    assert f"remove {directory}" in deleted.stderr
    assert alive


def test_what_was_left_by_a_machine_that_lost_its_power_is_deleted(bundle, machine):
    """A state directory on a disk, with a state that was cut; the boot has ended its processes and its cgroups."""
    id_ = machine.create(bundle, "sleep 1000")
    directory = Path(machine.root) / id_
    state = (directory / "state.json").read_bytes()
    config = (directory / "config.json").read_bytes()
    assert machine.pyrun("delete", "--force", id_).returncode == 0
    directory.mkdir()
    (directory / "config.json").write_bytes(config)
    (directory / "state.json").write_bytes(state[:100])
    refused = machine.pyrun("delete", "--force", id_)
    os.utime(directory, (0, 0))
    deleted = machine.pyrun("delete", "--force", id_)

    assert refused.returncode == 1
    assert (deleted.returncode, deleted.stderr) == (0, "")
    assert not directory.exists()


def move_to_another_cgroup():
    """Put the process that is about to call pyrun elsewhere than the container was made."""
    for hierarchy in Path("/sys/fs/cgroup").iterdir():
        other = hierarchy / f"attack-{os.getppid()}-elsewhere"
        other.mkdir(exist_ok=True)
        if (other / "cpuset.mems").exists():
            for name in ("cpuset.cpus", "cpuset.mems"):
                (other / name).write_text((hierarchy / name).read_text())
        (other / "cgroup.procs").write_text(str(os.getpid()))


@pytest.fixture(autouse=True)
def no_cgroup_elsewhere():
    yield
    for path in Path("/sys/fs/cgroup").glob(f"*/attack-{os.getpid()}-elsewhere"):
        path.rmdir()


def test_a_damaged_state_is_no_licence_to_kill_another_container(make_bundle, machine):
    shared = f"/attack-{os.getpid()}-shared"
    first, second = make_bundle(), make_bundle()
    for bundle in (first, second):
        bundle.config["linux"]["cgroupsPath"] = shared
    damaged = machine.start(first)
    machine.pyrun("kill", damaged, "KILL")
    wait_until(lambda: machine.state(damaged)["status"] == "stopped")
    file = Path(machine.root) / damaged / "state.json"
    before = file.read_bytes()
    other = machine.start(second)
    file.write_bytes(before[:100])

    deleted = machine.pyrun("delete", "--force", damaged)
    status = machine.state(other)["status"]
    file.write_bytes(before)

    assert deleted.returncode == 1 and "another container uses its cgroup" in deleted.stderr
    assert status == "running"


@pytest.mark.parametrize("value", ["1e400", "-1e400", "[" * 900 + "]" * 900, '{"a":' * 900 + "1" + "}" * 900])
@pytest.mark.parametrize("kind", ["startContainer", "poststart", "poststop"])
def test_an_unknown_property_of_a_hook_does_not_spoil_the_state(bundle, machine, kind, value):
    hook = {"path": "/bin/true", "args": ["true"], "unknown": "VALUE"}
    bundle.config["hooks"] = {kind: [hook]}
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    config = bundle.path / "config.json"
    config.write_text(config.read_text().replace('"VALUE"', value))
    id_ = machine.new_id()
    command = machine.command("run", "-d", "--bundle", bundle.path, id_)
    ran = subprocess.run(command, timeout=HANG, **NO_STREAMS)
    stored = json.loads((Path(machine.root) / id_ / "state.json").read_text())["hooks"][kind]
    deleted = machine.pyrun("delete", "--force", id_)

    assert ran.returncode == 0
    assert stored == [{"path": "/bin/true", "args": ["true"]}]
    assert (deleted.returncode, deleted.stderr) == (0, "")


@pytest.mark.parametrize("call", ["write", "rename"])
def test_a_failing_call_leaves_no_half_state(bundle, machine, call):
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    outcomes = set()
    for number in range(1, 5):
        id_ = machine.new_id()
        fault = f"inject={call}:error=ENOSPC:when={number}"
        strace = ["strace", "-o", "/dev/null", "-P", f"{machine.root}/{id_}/state.json.tmp", "-e", fault]
        command = [*strace, *machine.command("create", "--bundle", bundle.path, id_)]
        created = subprocess.run(command, timeout=HANG, **NO_STREAMS)
        outcomes.add(created.returncode)
        if created.returncode == 0:
            assert machine.state(id_)["status"] == "created"
            assert machine.pyrun("delete", "--force", id_).returncode == 0
        assert not os.path.exists(f"{machine.root}/{id_}")
        assert wait_until(lambda id_=id_: not cgroups(id_))

    assert outcomes == {0, 1}
