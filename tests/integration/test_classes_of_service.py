"""linux.intelRdt: classes of service in resctrl, as the processor and the kernel have it. unit/test_intel_rdt.py shows
the rest on a directory that behaves like it."""

import os
from pathlib import Path

import machine
import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")

RESCTRL = Path("/sys/fs/resctrl")


@pytest.mark.skipif(not machine.lacks("resctrl"), reason="this machine has resctrl mounted")
@pytest.mark.differs("crun", "it ignores intelRdt")
def test_a_class_of_service_without_resctrl_is_refused_by_name(container, bundle):
    bundle.linux["intelRdt"] = {"closID": "gold", "l3CacheSchema": "L3:0=f"}

    assert "resctrl is not mounted" in container.run_fails("true") or container.name != "pyrun"
    assert not container.exists()


@pytest.mark.only_pyrun("crun 1.8 has no such options")
def test_a_schema_for_a_container_without_a_class_of_service_is_refused(container):
    container.sleeping()

    assert "has no class of service" in container.fails("update", "--l3-cache-schema", "L3:0=f", container.id)


@pytest.fixture
def schemata():
    """The schemata of the root, which any class may have too, by resource: {"L3": "L3:0=fff;1=fff"}."""
    lines = [line.strip() for line in (RESCTRL / "schemata").read_text().splitlines()]
    return {line.partition(":")[0]: line for line in lines}


def class_of(pid):
    """Return the class of service and the monitoring group that the kernel says a process is in."""
    lines = Path(f"/proc/{pid}/cpu_resctrl_groups").read_text().splitlines()
    return dict(line.split(":", 1) for line in lines)


@pytest.mark.needs("resctrl", "/proc/self/cpu_resctrl_groups")
@pytest.mark.parametrize(
    "name, resource",
    [
        pytest.param("l3CacheSchema", "L3", marks=pytest.mark.proves("linux.intelRdt.l3CacheSchema")),
        pytest.param("memBwSchema", "MB", marks=pytest.mark.proves("linux.intelRdt.memBwSchema")),
        pytest.param("schemata", "L3", marks=pytest.mark.proves("linux.intelRdt.schemata")),
    ],
)
def test_a_class_is_made_with_its_schema_and_goes_with_the_container(container, bundle, schemata, name, resource):
    if resource not in schemata:
        pytest.skip(f"this machine lacks {resource} in resctrl")
    line = schemata[resource]
    bundle.linux["intelRdt"] = {"closID": container.id, name: [line] if name == "schemata" else line}
    inside = container.look("cat /proc/self/cpu_resctrl_groups")

    assert f"res:{container.id}" in inside.splitlines()
    assert class_of(container.pid())["res"] == container.id
    assert line in [one.strip() for one in (RESCTRL / container.id / "schemata").read_text().splitlines()]
    container.delete("--force")
    assert not (RESCTRL / container.id).exists()


@pytest.mark.needs("resctrl", "/proc/self/cpu_resctrl_groups")
@pytest.mark.proves("linux.intelRdt.closID", "linux.intelRdt.enableMonitoring")
def test_a_class_that_is_there_is_joined_watched_and_left(container, bundle):
    directory = RESCTRL / f"class-{container.id}"
    directory.mkdir()
    try:
        bundle.linux["intelRdt"] = {"closID": directory.name, "enableMonitoring": True}
        container.sleeping()

        assert class_of(container.pid()) == {"res": directory.name, "mon": container.id}
        assert os.listdir(directory / "mon_groups" / container.id)
        container.delete("--force")
        assert directory.exists()
        assert os.listdir(directory / "mon_groups") == []
    finally:
        directory.rmdir()
