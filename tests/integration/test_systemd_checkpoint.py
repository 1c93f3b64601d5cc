"""Checkpoint and restore of a container whose cgroup is a scope of systemd."""

import os
import subprocess

import criu
import pytest

pytestmark = [
    pytest.mark.needs("root", "/bin/busybox", "systemd", "criu"),
    pytest.mark.only_pyrun("is not told where criu is"),
]


@pytest.fixture(autouse=True)
def criu_in_path(monkeypatch):
    monkeypatch.setenv("PATH", f"{criu.directory()}:{os.environ['PATH']}")


def shown(unit, name):
    return subprocess.run(["systemctl", "show", "-P", name, unit], capture_output=True, text=True).stdout.strip()


def test_a_restored_container_has_a_scope_with_its_limits(new_container, tmp_path):
    container, twin = new_container(), new_container()
    container.bundle.resources["memory"] = {"limit": 64 << 20}
    container.bundle.resources["pids"] = {"limit": 9}
    twin.bundle.config = container.bundle.config
    for one in (container, twin):
        one.global_options = ["--systemd-cgroup"]
    image = tmp_path / "image"
    container.sleeping()
    container.works("checkpoint", "--image-path", image, container.id)
    options = ("--detach", "--pid-file", twin.pid_file, "--image-path", image, "--work-path", tmp_path / "work")
    twin._detached("restore", *options)
    unit = f"pyrun-{twin.id}.scope"

    assert [line.rpartition("/")[2] for line in twin.proc("cgroup").splitlines() if line.startswith("0::")] == [unit]
    assert (shown(unit, "ActiveState"), shown(unit, "MemoryMax"), shown(unit, "TasksMax")) == (
        "active",
        str(64 << 20),
        "9",
    )
    assert twin.cgroup_file("", "cgroup.procs") == str(twin.pid())
    assert shown(f"pyrun-{container.id}.scope", "ActiveState") == "inactive"
    twin.delete("--force")
    assert shown(unit, "ActiveState") == "inactive"
