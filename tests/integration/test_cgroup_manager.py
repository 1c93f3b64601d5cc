"""--cgroup-manager, crun's option: who makes the cgroups. test_systemd_cgroups.py has "systemd"."""

import json
import os
import subprocess

import pytest
from harness import ANOTHER_GETS_THE_PID, build_with, is_alive, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox")


@pytest.fixture
def unmanaged(container):
    """A container without cgroups of its own: what podman --cgroups=disabled asks for."""
    if container.name == "runc":
        pytest.skip("runc has no such option")
    container.global_options = ["--cgroup-manager", "disabled"]
    container.bundle.resources["pids"] = {"limit": 20}
    container.bundle.resources["memory"] = {"limit": 64 << 20}
    return container


def own_cgroups():
    with open("/proc/self/cgroup") as file:
        return file.read()


def test_without_a_manager_a_container_is_in_the_cgroups_of_its_caller(unmanaged):
    unmanaged.sleeping()

    assert unmanaged.proc("cgroup") == own_cgroups()
    assert unmanaged.exec("cat", "/proc/self/cgroup") == own_cgroups()
    assert unmanaged.cgroups() == []


def test_without_a_manager_it_can_be_listed_signalled_and_deleted(unmanaged):
    unmanaged.sleeping()
    listed = unmanaged.exists(), unmanaged.status()
    unmanaged.works("kill", unmanaged.id, "KILL")
    unmanaged.wait_until("stopped")
    unmanaged.delete()

    assert listed == (True, "running")
    assert not unmanaged.exists()


def test_killing_it_spares_the_other_processes_of_that_cgroup(unmanaged):
    with subprocess.Popen(["sleep", "1000"]) as neighbour:
        unmanaged.sleeping()
        unmanaged.works("kill", "--all", unmanaged.id, "KILL")
        unmanaged.delete("--force")
        lives = neighbour.poll() is None
        neighbour.kill()

    assert lives


@pytest.mark.needs("/proc/sys/kernel/ns_last_pid")
@pytest.mark.only_pyrun("it is built with a fault")
def test_its_processes_are_not_those_of_the_host_if_its_init_ends_and_another_process_gets_the_pid(unmanaged, tmp_path):
    """`kill --all` takes the list that `ps` shows."""
    unmanaged.sleeping()
    pid = unmanaged.pid()
    unmanaged.runtime = build_with(tmp_path, {"pyrun/container/state.py": ANOTHER_GETS_THE_PID})

    assert json.loads(unmanaged.works("ps", "--format", "json", unmanaged.id)) in (None, [])

    wait_until(lambda: not is_alive(pid), "the end of the other process")


def test_without_a_manager_it_can_neither_be_paused_nor_limited(unmanaged):
    unmanaged.sleeping()
    messages = [unmanaged.fails(*command, unmanaged.id) for command in (["pause"], ["update", "--pids-limit", "5"])]

    assert "cannot pause the container without a cgroup" in messages[0]
    assert "pids" in messages[1]
    assert unmanaged.status() == "running"


@pytest.mark.only_pyrun("the wording is ours, and crun has no such options")
def test_without_a_manager_device_rules_and_statistics_are_none(unmanaged):
    unmanaged.sleeping()

    assert "devices is not available" in unmanaged.fails("update", "--device-add", "c 1:11 r", unmanaged.id)
    assert '"pids":{"current":0' in unmanaged.works("events", "--stats", unmanaged.id)


def test_a_path_is_of_no_account_without_a_manager(unmanaged, bundle):
    bundle.linux["cgroupsPath"] = f"/test-{unmanaged.id}/deep"
    unmanaged.sleeping()

    assert unmanaged.proc("cgroup") == own_cgroups()


@pytest.mark.parametrize("value", ["cgroupfs", None], ids=["cgroupfs", "no option"])
def test_the_file_system_is_the_manager_where_nothing_is_said(container, value):
    if container.name == "runc" and value:
        pytest.skip("runc has no such option")
    container.global_options = ["--cgroup-manager", value] if value else []
    container.bundle.resources["pids"] = {"limit": 20}
    container.bundle.linux["cgroupsPath"] = f"/test-{container.id}"
    container.sleeping()

    assert container.cgroup("pids").name == f"test-{container.id}"
    assert container.cgroup_file("pids", "pids.max") == "20"


@pytest.mark.only_pyrun("the wording is ours")
def test_another_manager_is_refused_and_nothing_is_made(container):
    container.global_options = ["--cgroup-manager", "somebody"]
    message = container.run_fails("true")
    container.global_options = []

    assert message == 'error: invalid cgroup-manager "somebody": cgroupfs, systemd or disabled'
    assert not container.exists()


@pytest.mark.only_pyrun("the wording is ours")
def test_systemd_is_no_manager_where_it_does_not_run(container):
    if os.path.exists("/run/systemd/private"):
        pytest.skip("systemd runs: test_systemd_cgroups.py has it as the manager")
    container.global_options = ["--cgroup-manager", "systemd"]
    message = container.run_fails("true")

    assert message.startswith("error: --systemd-cgroup: the systemd of this machine does not answer at ")
    assert container.cgroups() == []
