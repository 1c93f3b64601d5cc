"""The systemd cgroup driver, --systemd-cgroup, with a real systemd; test_virtual_machine.py boots one."""

import json
import os
import shutil
import subprocess

import pytest
from harness import V2_ALONE, is_alive, wait_until

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox", "systemd"),
    pytest.mark.only_pyrun("the wording, and the prefix of the default, are ours"),
]
on_v1 = pytest.mark.needs("cgroup v1")
on_v2 = pytest.mark.needs("cgroup v2 alone")
with_memory = pytest.mark.needs("cgroup memory")


@pytest.fixture
def managed(container):
    """A container whose cgroup systemd makes."""
    container.global_options = ["--systemd-cgroup"]
    container.bundle.linux["cgroupsPath"] = f"test-deep.slice:pyrun:{container.id}"
    return container


def unit(container):
    return f"pyrun-{container.id}.scope"


def shown(container, *names):
    """Return what systemd says that properties of the container's unit are."""
    arguments = [f"--property={name}" for name in names]
    return dict(line.split("=", 1) for line in systemctl("show", *arguments, unit(container)).splitlines())


def systemctl(*arguments):
    return subprocess.run(["systemctl", *arguments], capture_output=True, text=True, check=True, timeout=30).stdout


def is_known(name):
    return name in systemctl("list-units", "--all", "--plain", name)


def places(container):
    """Return the paths of the container's cgroups in all hierarchies."""
    return {line.split(":", 2)[2] for line in container.proc("cgroup").splitlines()}


@pytest.mark.proves("linux.cgroupsPath: of systemd")
def test_a_container_is_in_a_scope_of_its_slice(managed):
    inside = managed.look("cat /proc/self/cgroup")

    assert {line.split(":", 2)[2] for line in inside.splitlines()} == places(managed)
    assert places(managed) == {f"/test.slice/test-deep.slice/{unit(managed)}"}
    assert shown(managed, "ActiveState", "Delegate", "Slice") == {
        "ActiveState": "active",
        "Delegate": "yes",
        "Slice": "test-deep.slice",
    }


@pytest.mark.parametrize(
    "options", [["--cgroup-manager", "systemd"], ["--cgroup-manager=cgroupfs", "--systemd-cgroup"]]
)
def test_either_option_makes_systemd_the_manager(managed, options):
    managed.global_options = options

    assert places(managed.sleeping()) == {f"/test.slice/test-deep.slice/{unit(managed)}"}


def test_without_a_path_the_scope_is_in_the_slice_of_the_system(managed):
    del managed.bundle.linux["cgroupsPath"]

    assert places(managed.sleeping()) == {f"/system.slice/{unit(managed)}"}


def test_a_scope_without_a_prefix_has_the_name_alone(managed):
    managed.bundle.linux["cgroupsPath"] = f"::{managed.id}"

    assert places(managed.sleeping()) == {f"/system.slice/{managed.id}.scope"}


def test_systemd_is_never_told_of_0_processes(managed, bundle):
    bundle.config["ociVersion"] = "1.3.0"
    bundle.resources["pids"] = {"limit": 0}
    managed.sleeping()

    assert shown(managed, "TasksMax") == {"TasksMax": "1"}


def test_before_1_3_a_limit_of_0_processes_leaves_the_default_of_systemd(managed, bundle):
    bundle.config["ociVersion"] = "1.2.1"
    bundle.resources["pids"] = {"limit": 0}
    managed.sleeping()

    assert managed.exec("sh", "-c", "(true); echo forked") == "forked\n"


@on_v1
def test_on_v1_the_limits_are_in_force_and_known_to_systemd(managed, bundle):
    bundle.resources["cpu"] = {"quota": 25000, "period": 50000, "shares": 512}
    bundle.resources["pids"] = {"limit": 20}
    managed.sleeping()

    files = ("cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares")
    assert [managed.cgroup_file("cpu", file) for file in files] == ["25000", "50000", "512"]
    assert managed.cgroup_file("pids", "pids.max") == "20"
    assert shown(managed, "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec", "CPUShares", "TasksMax") == {
        "CPUQuotaPerSecUSec": "500ms",
        "CPUQuotaPeriodUSec": "50ms",
        "CPUShares": "512",
        "TasksMax": "20",
    }


@pytest.mark.needs("cgroup v1 memory")
def test_on_v1_a_limit_of_memory_is_known_to_systemd(managed, bundle):
    bundle.resources["memory"] = {"limit": 64 << 20}
    managed.sleeping()
    before = managed.cgroup_file("memory", "memory.limit_in_bytes"), shown(managed, "MemoryLimit")["MemoryLimit"]
    managed.works("update", "--memory", "-1", managed.id)

    assert before == (str(64 << 20), str(64 << 20))
    assert managed.cgroup_file("memory", "memory.limit_in_bytes") == "9223372036854771712"
    assert shown(managed, "MemoryLimit") == {"MemoryLimit": "infinity"}


@on_v1
@pytest.mark.needs("cgroup v1 net_cls")
def test_a_controller_that_systemd_does_not_have_has_its_limit(managed, bundle):
    bundle.resources["network"] = {"classID": 0x100001}

    assert managed.sleeping().cgroup_file("net_cls", "net_cls.classid") == str(0x100001)


@pytest.mark.needs("cgroup v1 cpuset")
def test_on_v1_cpus_are_those_of_the_cpuset(managed, bundle):
    bundle.resources["cpu"] = {"cpus": "0"}
    managed.sleeping()
    before = managed.cgroup_file("cpuset", "cpuset.cpus")
    managed.works("update", "--cpuset-cpus", "0-1", managed.id)

    assert (before, managed.cgroup_file("cpuset", "cpuset.cpus")) == ("0", "0-1")


@on_v1
def test_delete_removes_the_cgroups_that_systemd_leaves(managed):
    managed.sleeping()
    managed.works("kill", managed.id, "KILL")
    managed.wait_until("stopped")
    wait_until(lambda: not is_known(unit(managed)), "systemd has forgotten the scope")
    left = {path.split("/")[4] for path in managed.cgroups()}
    managed.delete()

    assert left >= {"freezer"}
    assert not left & {"cpu,cpuacct", "pids", "devices"}
    assert not managed.cgroups()


@on_v1
@pytest.mark.needs("weights of block I/O")
def test_on_v1_a_weight_of_block_io_is_known_to_systemd(managed, bundle):
    bundle.resources["blockIO"] = {"weight": 100}
    managed.sleeping()

    assert managed.cgroup_file("blkio", "blkio.bfq.weight") == "100"
    assert shown(managed, "BlockIOWeight") == {"BlockIOWeight": "100"}


def seen_of(container):
    """Return what the kernel and systemd say about the container's cgroup."""
    limits = ("CPUShares", "CPUQuotaPerSecUSec", "TasksMax", "DevicePolicy", "Slice", "Delegate", "DefaultDependencies")
    accounting = [f"{kind}Accounting" for kind in ("CPU", "Memory", "BlockIO", "IO", "Tasks")]
    allowed = systemctl("show", "--property=DeviceAllow", "--value", unit(container))
    cgroups = container.proc("cgroup").replace(container.id, "ID").splitlines()
    files = ["pids.max", "cpu.max"] if V2_ALONE else ["pids.max", "cpu.cfs_quota_us", "cpu.cfs_period_us", "cpu.shares"]
    return {
        **shown(container, *limits, *accounting),
        "DeviceAllow": set(allowed.replace("char-pts", "char-136").splitlines()),  # so runc 1.1, for systemd before 240
        "cgroups": [line for line in cgroups if ":misc:" not in line],  # runc 1.1 does not know it
        "devices": [] if V2_ALONE else sorted(container.cgroup_file("devices", "devices.list").splitlines()),
        **{name: container.cgroup_file(name.partition(".")[0], name) for name in files},
    }


@pytest.mark.needs("runc")
def test_the_unit_and_the_cgroups_are_those_that_runc_makes(managed, new_container):
    other = new_container()
    other.runtime = shutil.which("runc")
    seen = []
    for one in (managed, other):
        one.global_options = ["--systemd-cgroup"]
        one.bundle.linux["cgroupsPath"] = f"test-deep.slice:pyrun:{one.id}"
        one.bundle.resources["cpu"] = {
            "quota": 33000,
            **({} if V2_ALONE else {"shares": 512}),
        }  # runc 1.1: another weight
        one.bundle.resources["pids"] = {"limit": 20}
        one.bundle.resources["devices"].append({"allow": True, "type": "c", "major": 1, "minor": 11, "access": "r"})
        seen.append(seen_of(one.sleeping()))
    other.delete("--force")

    assert seen[0] == seen[1]


@on_v2
def test_the_limits_are_in_force_and_known_to_systemd(managed, bundle):
    bundle.resources["memory"] = {"limit": 64 << 20, "reservation": 32 << 20}
    bundle.resources["cpu"] = {"quota": 25000, "period": 50000, "shares": 512}
    bundle.resources["pids"] = {"limit": 20}
    bundle.resources["unified"] = {"memory.high": str(48 << 20)}
    managed.sleeping()

    assert managed.cgroup_file("memory", "memory.max") == str(64 << 20)
    assert managed.cgroup_file("cpu", "cpu.max") == "25000 50000"
    assert managed.cgroup_file("pids", "pids.max") == "20"
    names = (
        "MemoryMax",
        "MemoryLow",
        "MemoryHigh",
        "CPUQuotaPerSecUSec",
        "CPUQuotaPeriodUSec",
        "CPUWeight",
        "TasksMax",
    )
    assert shown(managed, *names) == {
        "MemoryMax": str(64 << 20),
        "MemoryLow": str(32 << 20),
        "MemoryHigh": str(48 << 20),
        "CPUQuotaPerSecUSec": "500ms",
        "CPUQuotaPeriodUSec": "50ms",
        "CPUWeight": managed.cgroup_file("cpu", "cpu.weight"),
        "TasksMax": "20",
    }


def test_a_quota_that_is_no_whole_percent_is_in_force_exactly(managed, bundle):
    bundle.resources["cpu"] = {"quota": 33333, "period": 100000}

    file = "cpu.max" if V2_ALONE else "cpu.cfs_quota_us"
    quotas = [managed.sleeping().cgroup_file("cpu", file).split()[0]]
    for option in (["--pids-limit", "30"], ["--cpu-period", "80000"], ["--device-add", "c 1:11 r"]):
        managed.works("update", *option, managed.id)
        quotas.append(managed.cgroup_file("cpu", file).split()[0])

    assert quotas == ["33333"] * 4


def test_update_changes_the_limits_and_tells_systemd(managed, bundle):
    bundle.resources["pids"] = {"limit": 20}
    managed.sleeping()
    managed.works("update", "--pids-limit", "30", "--cpu-quota", "20000", managed.id)
    first = shown(managed, "TasksMax", "CPUQuotaPerSecUSec")
    managed.works("update", "--cpu-period", "50000", managed.id)

    assert managed.cgroup_file("pids", "pids.max") == "30"
    assert first == {"TasksMax": "30", "CPUQuotaPerSecUSec": "200ms"}
    assert shown(managed, "CPUQuotaPerSecUSec", "CPUQuotaPeriodUSec") == {
        "CPUQuotaPerSecUSec": "400ms",
        "CPUQuotaPeriodUSec": "50ms",
    }


@on_v2
def test_update_tells_systemd_of_memory(managed):
    managed.sleeping().works("update", "--memory", "100m", managed.id)

    assert managed.cgroup_file("memory", "memory.max") == str(100 << 20)
    assert shown(managed, "MemoryMax") == {"MemoryMax": str(100 << 20)}


def test_limits_survive_that_systemd_reloads(managed, bundle):
    bundle.resources["pids"] = {"limit": 20}
    managed.sleeping()
    systemctl("daemon-reload")

    assert managed.cgroup_file("pids", "pids.max") == "20"


def test_exec_joins_the_scope(managed):
    assert managed.sleeping().exec("cat", "/proc/self/cgroup") == managed.proc("cgroup")


@pytest.mark.parametrize("memory", [None, pytest.param(256 << 10, marks=with_memory)], ids=["", "hardly any memory"])
def test_a_container_runs_to_its_end_and_nothing_is_left(managed, bundle, memory):
    if memory:
        bundle.resources["memory"] = {"limit": memory}
    assert managed.run("echo", "hello") == "hello\n"

    assert not managed.cgroups()
    wait_until(lambda: not is_known(unit(managed)), "systemd has forgotten the scope")


def test_a_container_with_one_process_at_most_runs(managed, bundle):
    bundle.resources["pids"] = {"limit": 1}

    assert managed.run("echo", "alone") == "alone\n"


@pytest.mark.parametrize("type_", ["pid", "cgroup"])
def test_a_container_that_joins_namespaces_of_another_has_a_scope_of_its_own(new_container, type_):
    first, second = new_container(), new_container()
    first.bundle.namespace("cgroup")
    first.sleeping()
    second.global_options = ["--systemd-cgroup"]
    second.bundle.namespace(type_, f"/proc/{first.pid()}/ns/{type_}")
    second.sleeping()

    assert places(second) == {f"/system.slice/{unit(second)}"}
    second.delete("--force")


def test_a_container_with_a_user_namespace_is_in_its_scope(managed, bundle):
    bundle.user_namespace()

    assert unit(managed) in managed.sleeping().proc("cgroup")
    assert managed.exec("cat", "/proc/self/cgroup") == managed.proc("cgroup")


def test_a_container_with_a_cgroup_namespace_sees_its_scope_as_the_root(managed, bundle):
    bundle.namespace("cgroup")

    assert {line.split(":")[2] for line in managed.run("cat", "/proc/self/cgroup").splitlines()} == {"/"}


@on_v2
def test_delete_of_a_container_that_made_cgroups_itself_leaves_none(managed, bundle):
    bundle.namespace("cgroup")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rw")
    bundle.process["args"] = [
        "sh",
        "-c",
        "mkdir -p /sys/fs/cgroup/a/b; echo $$ > /sys/fs/cgroup/a/b/cgroup.procs; sleep 1000",
    ]
    managed.run_detached()
    wait_until(lambda: managed.proc("cgroup").endswith("/a/b\n"), "it has moved")
    managed.delete("--force")

    assert not managed.cgroups()
    assert not is_known(unit(managed))


def test_kill_all_ends_every_process_of_the_scope(managed, bundle):
    bundle.without_namespace("pid")
    managed.sleeping()
    other = managed.pid_file.with_suffix(".other")
    script = "exec sleep 1000 </dev/null >/dev/null 2>&1"  # the pipes of this call would have no end
    managed.works("exec", "--detach", "--pid-file", other, managed.id, "sh", "-c", script)
    before = is_alive(int(other.read_text()))
    managed.works("kill", "--all", managed.id, "KILL")

    assert before
    wait_until(lambda: not is_alive(int(other.read_text())), "the other process has ended")
    assert managed.status() == "stopped"


def test_what_a_scope_uses_is_told(managed, bundle):
    bundle.resources["pids"] = {"limit": 20}
    managed.sleeping()

    assert json.loads(managed.works("events", "--stats", managed.id))["data"]["pids"] == {"current": 1, "limit": 20}


def test_pause_and_resume_work_in_a_scope(managed):
    managed.sleeping()
    managed.works("pause", managed.id)
    paused = managed.status()
    managed.works("resume", managed.id)

    assert (paused, managed.status()) == ("paused", "running")


@with_memory
def test_a_container_that_memory_ran_out_of_can_be_made_again(managed, bundle):
    bundle.resources["memory"] = {"limit": 8 << 20, "swap": 8 << 20}
    bundle.process["args"] = ["sh", "-c", "head -c 100000000 /dev/zero | tail"]
    managed.run_detached()
    managed.wait_until("stopped")
    managed.delete()
    bundle.process["args"] = ["sleep", "1000"]

    assert managed.run_detached().status() == "running"


@pytest.mark.proves("annotations: org.systemd.property.*")
def test_annotations_set_properties_of_the_unit(managed, bundle):
    bundle.config["annotations"] = {
        "org.systemd.property.Description": "'a container of mine'",
        "org.systemd.property.TimeoutStopSec": "uint64 7",
        "org.systemd.property.CollectMode": "'inactive-or-failed'",
    }
    managed.sleeping()

    assert shown(managed, "Description", "TimeoutStopUSec", "CollectMode") == {
        "Description": "a container of mine",
        "TimeoutStopUSec": "7s",
        "CollectMode": "inactive-or-failed",
    }


def test_nothing_is_left_of_a_container_that_cannot_be_made(managed):
    managed.run_fails("no-such-program")

    assert not managed.cgroups()
    assert not is_known(unit(managed))


def test_a_property_that_systemd_does_not_have_is_named_and_nothing_is_left(managed, bundle):
    bundle.config["annotations"] = {"org.systemd.property.Nonsense": "true"}
    message = managed.run_fails("true")

    assert "Nonsense" in message
    assert not managed.exists()


def test_a_unit_of_that_name_that_is_in_use_is_left_alone(managed):
    command = ["systemd-run", "--quiet", "--scope", f"--unit={unit(managed)}", "--slice=other", "sleep", "1000"]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as other:
        wait_until(lambda: is_known(unit(managed)), "the other unit is there")
        message = managed.run_fails("true")
        still_there = other.poll() is None
        other.kill()
    wait_until(lambda: not managed.cgroups(), "systemd has removed the cgroup of the other")

    assert f"cannot start {unit(managed)}" in message
    assert still_there


@pytest.mark.parametrize(
    "path", ["/a/path", "slice:name", "no-slice:pyrun:name", "a--b.slice:pyrun:name", "a/b.slice:p:n"]
)
def test_a_path_that_names_no_unit_is_refused(managed, bundle, path):
    bundle.linux["cgroupsPath"] = path

    assert "linux.cgroupsPath" in managed.run_fails("true")


def test_the_message_bus_does_where_systemd_has_no_socket_of_its_own(managed):
    os.rename("/run/systemd/private", "/run/systemd/private.away")
    try:
        assert unit(managed) in managed.sleeping().proc("cgroup")
        managed.delete("--force")
    finally:
        os.rename("/run/systemd/private.away", "/run/systemd/private")

    assert not is_known(unit(managed))


def test_a_service_that_is_ready_when_its_container_is_tells_systemd(container, bundle, tmp_path):
    bundle.process["args"] = ["sh", "-c", "while :; do sleep 0.1; done"]
    bundle.mount("/usr", "bind", "/usr", "rbind", "ro")
    for name in ("lib", "lib64"):
        bundle.mount(f"/{name}", "bind", os.path.realpath(f"/{name}"), "rbind", "ro")
    bundle.process["env"] = ["PATH=/bin:/usr/bin"]
    bundle.process["args"] = ["sh", "-c", "systemd-notify --ready; exec sleep 1000"]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, "--pid-file", container.pid_file, container.id)
    name = f"{container.id}.service"
    properties = [
        "--property=Type=notify",
        "--property=NotifyAccess=all",
        "--property=TimeoutStopSec=1",
        f"--unit={name}",
    ]
    try:
        subprocess.run(["systemd-run", "--quiet", *properties, *command], check=True, timeout=20)
        answer = subprocess.run(["systemctl", "show", "-PMainPID", name], capture_output=True, text=True, check=True)

        assert int(answer.stdout) == container.pid()
    finally:
        subprocess.run(["systemctl", "stop", name], check=True)


@pytest.mark.needs("podman")
@pytest.mark.timeout(120)
def test_podman_makes_its_containers_in_scopes(container, bundle, tmp_path):
    podman = [
        "podman",
        "--runtime",
        str(container.runtime),
        "--cgroup-manager",
        "systemd",
        "--root",
        str(tmp_path / "storage"),
    ]
    podman += ["--runroot", "/run/podman-test", "--storage-driver", "vfs", "--events-backend", "file"]

    def call(*arguments):
        return subprocess.run([*podman, *arguments], stdout=subprocess.PIPE, text=True, check=True, timeout=60).stdout

    id_ = call(
        "run", "-d", "--network", "none", "--pids-limit", "50", "--rootfs", str(bundle.rootfs), "sleep", "1000"
    ).strip()
    try:
        scope = f"libpod-{id_}.scope"
        limit = subprocess.run(["systemctl", "show", "-PTasksMax", scope], capture_output=True, text=True, check=True)

        assert limit.stdout == "50\n"
        assert call("exec", id_, "cat", f"/sys/fs/cgroup{'' if V2_ALONE else '/pids'}/pids.max") == "50\n"
    finally:
        call("rm", "--force", "--time", "0", id_)

    assert not is_known(scope)
