"""The systemd cgroup driver, --systemd-cgroup, with a real systemd; test_virtual_machine.py boots one."""

import os
import subprocess

import pytest
from harness import wait_until

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox", "systemd", "cgroup v2 alone"),
    pytest.mark.only_pyrun("the wording, and the prefix of the default, are ours"),
]


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
    output = subprocess.run(
        ["systemctl", "show", *arguments, unit(container)], capture_output=True, text=True, check=True
    )
    return dict(line.split("=", 1) for line in output.stdout.splitlines())


def is_known(name):
    listed = subprocess.run(["systemctl", "list-units", "--all", "--plain", name], capture_output=True, text=True)
    return name in listed.stdout


def cgroup_file(container, name):
    path = container.proc("cgroup").strip().partition("::")[2]
    with open(f"/sys/fs/cgroup{path}/{name}") as file:
        return file.read().strip()


def test_a_container_is_in_a_scope_of_its_slice(managed):
    managed.sleeping()

    assert managed.proc("cgroup") == f"0::/test.slice/test-deep.slice/{unit(managed)}\n"
    assert shown(managed, "ActiveState", "Delegate", "Slice") == {
        "ActiveState": "active",
        "Delegate": "yes",
        "Slice": "test-deep.slice",
    }


def test_without_a_path_the_scope_is_in_the_slice_of_the_system(managed):
    del managed.bundle.linux["cgroupsPath"]

    assert managed.sleeping().proc("cgroup") == f"0::/system.slice/{unit(managed)}\n"


def test_a_scope_without_a_prefix_has_the_name_alone(managed):
    managed.bundle.linux["cgroupsPath"] = f"::{managed.id}"

    assert managed.sleeping().proc("cgroup") == f"0::/system.slice/{managed.id}.scope\n"


def test_the_limits_are_in_force_and_known_to_systemd(managed, bundle):
    bundle.resources["memory"] = {"limit": 64 << 20, "reservation": 32 << 20}
    bundle.resources["cpu"] = {"quota": 25000, "period": 50000, "shares": 512}
    bundle.resources["pids"] = {"limit": 20}
    bundle.resources["unified"] = {"memory.high": str(48 << 20)}
    managed.sleeping()

    assert cgroup_file(managed, "memory.max") == str(64 << 20)
    assert cgroup_file(managed, "cpu.max") == "25000 50000"
    assert cgroup_file(managed, "pids.max") == "20"
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
        "CPUWeight": cgroup_file(managed, "cpu.weight"),
        "TasksMax": "20",
    }


def test_a_quota_that_is_no_whole_percent_is_in_force_exactly(managed, bundle):
    bundle.resources["cpu"] = {"quota": 33333, "period": 100000}

    assert cgroup_file(managed.sleeping(), "cpu.max") == "33333 100000"


def test_update_changes_the_limits_and_tells_systemd(managed, bundle):
    bundle.resources["pids"] = {"limit": 20}
    managed.sleeping()
    managed.works("update", "--pids-limit", "30", "--memory", "100m", "--cpu-quota", "20000", managed.id)

    assert cgroup_file(managed, "pids.max") == "30"
    assert shown(managed, "TasksMax", "MemoryMax", "CPUQuotaPerSecUSec") == {
        "TasksMax": "30",
        "MemoryMax": str(100 << 20),
        "CPUQuotaPerSecUSec": "200ms",
    }


def test_limits_and_device_rules_survive_that_systemd_reloads(managed, bundle):
    bundle.resources["pids"] = {"limit": 20}
    bundle.linux["devices"] = [{"path": "/dev/kmsg", "type": "c", "major": 1, "minor": 11}]
    managed.sleeping()
    subprocess.run(["systemctl", "daemon-reload"], check=True)

    assert cgroup_file(managed, "pids.max") == "20"
    assert managed.call("exec", managed.id, "head", "-c1", "/dev/kmsg").stderr.endswith("Operation not permitted\n")


def test_exec_joins_the_scope(managed):
    assert managed.sleeping().exec("cat", "/proc/self/cgroup") == managed.proc("cgroup")


@pytest.mark.parametrize("memory", [None, 256 << 10], ids=["", "hardly any memory"])
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

    assert second.proc("cgroup") == f"0::/system.slice/{unit(second)}\n"
    second.delete("--force")


def test_a_container_with_a_user_namespace_is_in_its_scope(managed, bundle):
    bundle.user_namespace()

    assert unit(managed) in managed.sleeping().proc("cgroup")
    assert managed.exec("cat", "/proc/self/cgroup") == managed.proc("cgroup")


def test_a_container_with_a_cgroup_namespace_sees_its_scope_as_the_root(managed, bundle):
    bundle.namespace("cgroup")

    assert managed.run("cat", "/proc/self/cgroup") == "0::/\n"


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


def test_pause_and_resume_work_in_a_scope(managed):
    managed.sleeping()
    managed.works("pause", managed.id)
    paused = managed.status()
    managed.works("resume", managed.id)

    assert (paused, managed.status()) == ("paused", "running")


def test_a_container_that_memory_ran_out_of_can_be_made_again(managed, bundle):
    bundle.resources["memory"] = {"limit": 8 << 20, "swap": 8 << 20}
    bundle.process["args"] = ["sh", "-c", "head -c 100000000 /dev/zero | tail"]
    managed.run_detached()
    managed.wait_until("stopped")
    managed.delete()
    bundle.process["args"] = ["sleep", "1000"]

    assert managed.run_detached().status() == "running"


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
        assert call("exec", id_, "cat", "/sys/fs/cgroup/pids.max") == "50\n"
    finally:
        call("rm", "--force", "--time", "0", id_)

    assert not is_known(scope)
