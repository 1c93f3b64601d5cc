"""linux.cgroupsPath, and linux.resources where each is seen: in the files of the container's cgroups."""

import os
import subprocess
import uuid
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox", "cgroup v1")

MB = 1 << 20


@pytest.mark.parametrize(
    "resources, controller, file, expected",
    [
        ({"memory": {"limit": 64 * MB}}, "memory", "memory.limit_in_bytes", str(64 * MB)),
        ({"memory": {"reservation": 32 * MB}}, "memory", "memory.soft_limit_in_bytes", str(32 * MB)),
        ({"memory": {"limit": 64 * MB, "swap": 96 * MB}}, "memory", "memory.memsw.limit_in_bytes", str(96 * MB)),
        ({"memory": {"swappiness": 10}}, "memory", "memory.swappiness", "10"),
        ({"cpu": {"idle": 1}}, "cpu", "cpu.idle", "1"),
        ({"cpu": {"quota": 50000, "burst": 20000}}, "cpu", "cpu.cfs_burst_us", "20000"),
        ({"cpu": {"shares": 512}}, "cpu", "cpu.shares", "512"),
        ({"cpu": {"quota": 50000, "period": 100000}}, "cpu", "cpu.cfs_quota_us", "50000"),
        ({"cpu": {"quota": 20000, "period": 200000}}, "cpu", "cpu.cfs_period_us", "200000"),
        ({"cpu": {"cpus": "0"}}, "cpuset", "cpuset.cpus", "0"),
        ({"cpu": {"mems": "0"}}, "cpuset", "cpuset.mems", "0"),
        ({"pids": {"limit": 50}}, "pids", "pids.max", "50"),
        ({"pids": {"limit": -1}}, "pids", "pids.max", "max"),
        pytest.param(
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]},
            "hugetlb",
            "hugetlb.2MB.limit_in_bytes",
            str(4 * MB),
            marks=pytest.mark.needs("cgroup hugetlb"),
        ),
    ],
)
def test_a_limit_is_in_force(container, bundle, resources, controller, file, expected):
    bundle.resources.update(resources)
    container.sleeping()

    assert container.cgroup_file(controller, file) == expected


def test_the_oom_killer_can_be_disabled(container, bundle):
    bundle.resources["memory"] = {"limit": 64 * MB, "disableOOMKiller": True}
    container.sleeping()

    assert "oom_kill_disable 1" in container.cgroup_file("memory", "memory.oom_control")


# Mounted for this test alone: no machine has all of them mounted as v1.
MOUNTED = """
mkdir -p "$1"; mount -t cgroup -o "$2" cgroup "$1" || exit 77
$3 run --detach --bundle "$4" "$5" < /dev/null > /dev/null
cat "$1/$5/$6"
$3 delete --force "$5"
rmdir "$1/$5" 2> /dev/null && echo left behind
umount "$1"
"""


@pytest.mark.only_pyrun("crun 1.8 and runc 1.1 look for controllers below /sys/fs/cgroup")
@pytest.mark.parametrize(
    "resources, controllers, file, expected",
    [
        ({"network": {"classID": 0x100001}}, "net_cls,net_prio", "net_cls.classid", "1048577"),
        (
            {"network": {"priorities": [{"name": "lo", "priority": 5}]}},
            "net_cls,net_prio",
            "net_prio.ifpriomap",
            "lo 5",
        ),
        (
            {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]},
            "hugetlb",
            "hugetlb.2MB.limit_in_bytes",
            "4194304",
        ),
    ],
)
def test_a_limit_of_a_controller_that_few_mount(container, bundle, tmp_path, resources, controllers, file, expected):
    bundle.resources.update(resources)
    bundle.process["args"] = ["sleep", "1000"]
    bundle.save()
    runtime = f"{container.runtime} --root {container.root}"
    arguments = [tmp_path / "hierarchy", controllers, runtime, bundle.path, container.id, file]
    command = ["unshare", "--mount", "sh", "-c", MOUNTED, "sh", *map(str, arguments)]
    result = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if result.returncode == 77:
        pytest.skip(f"this machine lacks cgroup {controllers}: {result.stderr}")

    assert expected in result.stdout.splitlines(), result
    assert "left behind" not in result.stdout


@pytest.mark.needs("/dev/vda")
def test_a_device_can_be_throttled(container, bundle):
    number = os.stat("/dev/vda").st_rdev
    rate = {"major": os.major(number), "minor": os.minor(number), "rate": 1 * MB}
    bundle.resources["blockIO"] = {"throttleReadBpsDevice": [rate]}
    container.sleeping()

    assert container.cgroup_file("blkio", "blkio.throttle.read_bps_device").endswith(f" {MB}")


def test_memory_beyond_the_limit_is_not_given(container, bundle):
    bundle.resources["memory"] = {"limit": 8 * MB, "swap": 8 * MB}
    bundle.process["args"] = ["sh", "-c", "head -c 64000000 /dev/zero | tail -c 60000000 > /dev/null; echo $?"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert 137 in (result.returncode, int(result.stdout or 0))  # the shell, or the child that it tells of, was killed


def test_the_pids_limit_stops_forks(container, bundle):
    bundle.resources["pids"] = {"limit": 3}
    script = "for i in 1 2 3 4 5; do sleep 1 & done 2>&1; wait; true"

    assert "fork" in container.sh(f"({script}) 2>&1; true")


@pytest.mark.only_pyrun("256 kB is the least for crun 1.8, 4 MB for runc 1.1")
def test_128_kilobytes_are_enough(container, bundle):
    # Of these busybox itself (static, with glibc) takes 112 when it joins right before execve: page tables, stack,
    # data. What runs before it adds no page that counts.
    bundle.resources["memory"] = {"limit": 128 << 10}

    assert container.run("/bin/busybox", "true") == ""


@pytest.mark.parametrize("path", ["/test-pyrun-{}/inner", "test-pyrun-{}/relative"])
def test_the_cgroup_is_where_the_config_says(container, bundle, path):
    bundle.linux["cgroupsPath"] = f"{path.format(uuid.uuid4().hex[:8])}-{container.id}"
    container.sleeping()
    found = [line.split(":", 2)[2] for line in container.proc("cgroup").splitlines() if ":pids:" in line]

    assert found[0].endswith(bundle.linux["cgroupsPath"])
    container.delete("--force")
    parent = Path(f"/sys/fs/cgroup/pids{found[0]}").parent
    for directory in Path("/sys/fs/cgroup").glob(f"*{str(parent).removeprefix('/sys/fs/cgroup/pids')}"):
        directory.rmdir()


def test_without_a_path_the_cgroup_has_the_containers_name(container):
    container.sleeping()

    assert container.id in container.proc("cgroup")


def test_all_devices_are_denied_by_default_but_the_usual_ones(container):
    container.sleeping()
    listed = container.cgroup_file("devices", "devices.list")

    assert "a *:* rwm" not in listed.splitlines()
    assert {"c 1:3 rwm", "c 1:5 rwm", "c 5:2 rwm"} <= set(listed.splitlines())


@pytest.mark.skipif("resctrl" in Path("/proc/mounts").read_text(), reason="this machine has resctrl mounted")
def test_a_class_of_service_without_resctrl_is_refused_by_name(container, bundle):
    bundle.linux["intelRdt"] = {"closID": "gold", "l3CacheSchema": "L3:0=f"}

    assert "resctrl is not mounted" in container.run_fails("true") or container.name != "pyrun"
    assert not container.exists()


@pytest.mark.only_pyrun("crun 1.8 has no such options")
def test_a_schema_for_a_container_without_a_class_of_service_is_refused(container):
    container.sleeping()

    assert "has no class of service" in container.fails("update", "--l3-cache-schema", "L3:0=f", container.id)
