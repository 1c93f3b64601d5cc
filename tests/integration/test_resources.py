"""linux.cgroupsPath and linux.resources, in the files of the container's cgroups: as the host sees them, and as the
program does where they are mounted."""

import os
import subprocess
import uuid
from pathlib import Path

import criu
import machine
import pytest
from harness import V2_ALONE, V2_ROOT, cgroups_named, wait_until

from foundation.linux import bpf

pytestmark = pytest.mark.needs("root", "/bin/busybox")

MB = 1 << 20


def limit(names, resources, controller, v1=None, v2=None, needs=(), differs=None):
    """A case: the properties below linux.resources that it shows, and the lines that files of v1 and v2 then have."""
    marks = [pytest.mark.proves(*(f"linux.resources.{name}" for name in names.split()))]
    marks.append(pytest.mark.needs(f"cgroup {controller}", *needs))
    if not v1:
        marks.append(pytest.mark.needs("cgroup v2 alone"))
    if not v2:
        marks.append(pytest.mark.needs(f"cgroup v1 {controller}"))
    marks += [pytest.mark.differs(peer, why) for peer, why in (differs or {}).items()]
    return pytest.param(resources, controller, v1, v2, id=names.replace(" ", "+"), marks=marks)


LIMITS = [
    limit(
        "memory.limit",
        {"memory": {"limit": 64 * MB}},
        "memory",
        {"memory.limit_in_bytes": str(64 * MB)},
        {"memory.max": str(64 * MB)},
    ),
    limit(
        "memory.reservation",
        {"memory": {"reservation": 32 * MB}},
        "memory",
        {"memory.soft_limit_in_bytes": str(32 * MB)},
        {"memory.low": str(32 * MB)},
    ),
    limit(
        "memory.swap",
        {"memory": {"limit": 64 * MB, "swap": 96 * MB}},
        "memory",
        {"memory.memsw.limit_in_bytes": str(96 * MB)},
        {"memory.swap.max": str(32 * MB)},
    ),
    limit(
        "memory.swap",
        {"memory": {"limit": 64 * MB, "swap": -1}},
        "memory",
        {"memory.memsw.limit_in_bytes": "9223372036854771712"},
        {"memory.swap.max": "max"},
    ),
    limit("memory.swappiness", {"memory": {"swappiness": 10}}, "memory", {"memory.swappiness": "10"}),
    limit(
        "memory.disableOOMKiller",
        {"memory": {"limit": 64 * MB, "disableOOMKiller": True}},
        "memory",
        {"memory.oom_control": "oom_kill_disable 1"},
    ),
    limit(
        "memory.kernelTCP",
        {"memory": {"kernelTCP": 8 * MB}},
        "memory",
        {"memory.kmem.tcp.limit_in_bytes": str(8 * MB)},
        differs={"runc": "it ignores kernelTCP"},
    ),
    limit("cpu.shares", {"cpu": {"shares": 512}}, "cpu", {"cpu.shares": "512"}),
    limit(
        "cpu.shares",
        {"cpu": {"shares": 512}},
        "cpu",
        None,
        {"cpu.weight": "59"},
        differs=dict.fromkeys(("runc", "crun"), "its weights are on a straight line, on which 1024 shares are 39"),
    ),
    limit(
        "cpu.quota cpu.period",
        {"cpu": {"quota": 20000, "period": 200000}},
        "cpu",
        {"cpu.cfs_quota_us": "20000", "cpu.cfs_period_us": "200000"},
        {"cpu.max": "20000 200000"},
    ),
    limit(
        "cpu.quota",
        {"cpu": {"quota": -1, "period": 50000}},
        "cpu",
        {"cpu.cfs_quota_us": "-1"},
        differs={"crun": "it writes another number, which the kernel refuses"},
    ),
    limit("cpu.quota", {"cpu": {"quota": -1, "period": 50000}}, "cpu", None, {"cpu.max": "max 50000"}),
    limit(
        "cpu.burst",
        {"cpu": {"quota": 50000, "burst": 20000}},
        "cpu",
        {"cpu.cfs_burst_us": "20000"},
        {"cpu.max.burst": "20000"},
        differs={"runc": "it ignores the burst", "crun": "it ignores the burst"},
    ),
    limit(
        "cpu.idle",
        {"cpu": {"idle": 1}},
        "cpu",
        {"cpu.idle": "1"},
        {"cpu.idle": "1"},
        differs={"runc": "it ignores idle"},
    ),
    limit(
        "cpu.realtimeRuntime cpu.realtimePeriod",
        {"cpu": {"realtimeRuntime": 10000, "realtimePeriod": 500000}},
        "cpu",
        {"cpu.rt_runtime_us": "10000", "cpu.rt_period_us": "500000"},
        needs=["realtime limits of cgroup v1"],
    ),
    limit("cpu.cpus", {"cpu": {"cpus": "0"}}, "cpuset", {"cpuset.cpus": "0"}, {"cpuset.cpus": "0"}),
    limit("cpu.mems", {"cpu": {"mems": "0"}}, "cpuset", {"cpuset.mems": "0"}, {"cpuset.mems": "0"}),
    limit("pids.limit", {"pids": {"limit": 50}}, "pids", {"pids.max": "50"}, {"pids.max": "50"}),
    limit(
        "pids.limit",
        {"pids": {"limit": -1}},
        "pids",
        {"pids.max": "max"},
        differs={"crun": "it writes -1 as it is, which the kernel refuses"},
    ),
    limit("pids.limit", {"pids": {"limit": -1}}, "pids", None, {"pids.max": "max"}),
    limit(
        "hugepageLimits[].pageSize hugepageLimits[].limit",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]},
        "hugetlb",
        {"hugetlb.2MB.limit_in_bytes": str(4 * MB)},
        {"hugetlb.2MB.max": str(4 * MB)},
    ),
    limit(
        "hugepageLimits[].limit",
        {"hugepageLimits": [{"pageSize": "2MB", "limit": 4 * MB}]},
        "hugetlb",
        {"hugetlb.2MB.rsvd.limit_in_bytes": str(4 * MB)},
        {"hugetlb.2MB.rsvd.max": str(4 * MB)},
        differs={"runc": "it does not limit what is reserved", "crun": "it does not limit what is reserved"},
    ),
    limit(
        "unified",
        {"unified": {"memory.high": str(48 * MB), "pids.max": "33"}},
        "memory",
        None,
        {"memory.high": str(48 * MB), "pids.max": "33"},
    ),
]


@pytest.fixture
def with_cgroups(container, bundle):
    """A container that sees its own cgroups, as one of an engine does."""
    bundle.namespace("cgroup")
    bundle.mount("/sys", "tmpfs", "tmpfs")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    return container


def lines_of(container, controller, file):
    """Return the lines of a file of the container's cgroup, which must be the same for the host and for the program."""
    directory = container.cgroup(controller)
    name = "" if V2_ROOT == "/sys/fs/cgroup" else f"/{directory.relative_to('/sys/fs/cgroup').parts[0]}"
    path = [*container.prefix, "cat", directory / file]
    outside = subprocess.run(path, capture_output=True, text=True, check=True).stdout
    assert container.exec("cat", f"/sys/fs/cgroup{name}/{file}") == outside
    return outside.splitlines()


def is_v1(container, controller):
    return not container.cgroup(controller).is_relative_to(V2_ROOT)


@pytest.mark.parametrize("resources, controller, v1, v2", LIMITS)
def test_a_limit_is_in_force(with_cgroups, bundle, resources, controller, v1, v2):
    if with_cgroups.name != "pyrun" and not V2_ALONE and machine.lacks(f"cgroup v1 {controller}"):
        pytest.skip(f"{with_cgroups.name}: beside v1 it takes no controllers of v2")
    bundle.resources.update(resources)
    with_cgroups.sleeping()

    for file, line in (v1 if is_v1(with_cgroups, controller) else v2).items():
        assert line in lines_of(with_cgroups, controller, file)


@pytest.mark.needs("cgroup v1")
@pytest.mark.only_pyrun("runc and crun take v2 of a hybrid layout for the systemd that is not there")
def test_unified_reaches_v2_beside_v1(with_cgroups, bundle):
    bundle.resources["unified"] = {"cgroup.max.depth": "7"}
    with_cgroups.sleeping()

    assert lines_of(with_cgroups, "", "cgroup.max.depth") == ["7"]


@pytest.mark.proves("linux.resources.cpu.cpus", "linux.resources.cpu.mems")
@pytest.mark.needs("cgroup cpuset")
def test_the_program_runs_on_the_cpus_and_in_the_memory_of_its_cpuset(container, bundle):
    bundle.resources["cpu"] = {"cpus": "0", "mems": "0"}
    inside = container.look("grep allowed_list /proc/self/status")

    assert inside.splitlines() == ["Cpus_allowed_list:\t0", "Mems_allowed_list:\t0"]
    assert set(inside.splitlines()) <= set(container.proc("status").splitlines())


@pytest.mark.needs("cgroup cpuset")
@pytest.mark.parametrize("cpus", ["0\n", "0-0:1/2"])
def test_a_list_of_cpus_is_as_the_kernel_writes_and_reads_it(container, bundle, cpus):
    bundle.resources["cpu"] = {"cpus": cpus}
    container.sleeping()

    assert container.cgroup_file("cpuset", "cpuset.cpus") == "0"


@pytest.mark.differs("crun", "it refuses the type")
def test_a_device_rule_of_an_empty_type_is_for_all(container, bundle):
    bundle.resources["devices"] = [{"allow": False, "type": "", "access": "rwm"}]

    assert container.sh("echo ran") == "ran"


@pytest.mark.differs("crun", "it ignores names in another case")
@pytest.mark.needs("cgroup pids")
def test_names_may_be_in_another_case_as_go_reads_them(container, bundle):
    bundle.resources["PIDS"] = {"Limit": 50}
    bundle.process["ENV"] = [*bundle.process.pop("env"), "A=1"]
    container.sleeping()

    assert container.cgroup_file("pids", "pids.max") == "50"
    assert container.exec("sh", "-c", "echo $A$B", options=["-e", "B=2"]) == "12\n"


@pytest.mark.proves("linux.resources.memory.limit", "linux.resources.memory.swap")
@pytest.mark.needs("cgroup memory")
def test_memory_beyond_the_limit_is_not_given(container, bundle):
    bundle.resources["memory"] = {"limit": 8 * MB, "swap": 8 * MB}
    bundle.process["args"] = ["sh", "-c", "head -c 64000000 /dev/zero | tail -c 60000000 > /dev/null; echo $?"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert 137 in (result.returncode, int(result.stdout or 0))  # the shell, or the child that it tells of, was killed


@pytest.mark.proves("linux.resources.pids.limit")
@pytest.mark.needs("cgroup pids")
def test_the_pids_limit_stops_forks(container, bundle):
    bundle.resources["pids"] = {"limit": 3}
    script = "for i in 1 2 3 4 5; do sleep 1 & done 2>&1; wait; true"

    assert "fork" in container.sh(f"({script}) 2>&1; true")


@pytest.mark.proves("linux.resources.pids.limit")
@pytest.mark.needs("cgroup pids")
def test_a_pids_limit_of_0_is_none_before_1_3(container, bundle):
    bundle.config["ociVersion"] = "1.0.2"
    bundle.resources["pids"] = {"limit": 0}
    container.sleeping()

    assert container.cgroup_file("pids", "pids.max") == "max"
    assert container.exec("sh", "-c", "(true); echo forked") == "forked\n"


@pytest.mark.only_pyrun("runc and crun know no 1.3")
@pytest.mark.proves("linux.resources.pids.limit")
@pytest.mark.needs("cgroup pids")
def test_a_pids_limit_of_0_is_one_from_1_3_on(container, bundle):
    bundle.config["ociVersion"] = "1.3.0"
    bundle.resources["pids"] = {"limit": 0}
    container.sleeping()

    assert container.cgroup_file("pids", "pids.max") == "0"


@pytest.mark.proves("linux.resources.memory.swappiness")
@pytest.mark.differs("crun", "it writes it as it is, which the kernel refuses")
@pytest.mark.needs("cgroup v1 memory")
def test_a_swappiness_of_go_s_minus_1_is_the_system_s(container, bundle):
    bundle.resources["memory"] = {"swappiness": (1 << 64) - 1}
    container.sleeping()

    path = container.cgroup("memory")
    assert (path / "memory.swappiness").read_text() == (path.parent / "memory.swappiness").read_text()


@pytest.mark.only_pyrun("256 kB is the least for crun 1.8, 4 MB for runc 1.1")
@pytest.mark.needs("cgroup v1 memory")
def test_128_kilobytes_are_enough(container, bundle):
    # Of these busybox itself (static, with glibc) takes 112 when it joins right before execve: page tables, stack,
    # data. What runs before it adds no page that counts.
    bundle.resources["memory"] = {"limit": 128 << 10}

    assert container.run("/bin/busybox", "true") == ""


@pytest.mark.only_pyrun("256 kB is the least for crun 1.8, 4 MB for runc 1.1")
@pytest.mark.needs("cgroup v1 memory", "gcc")
def test_64_kilobytes_are_enough_where_no_c_library_starts(container, bundle, tmp_path):
    source = tmp_path / "true.c"
    source.write_text("void _exit(int); void _start(void) { _exit(0); }")
    subprocess.run(["gcc", "-static", "-nostartfiles", "-o", bundle.rootfs / "bin/true64", source], check=True)
    bundle.resources["memory"] = {"limit": 64 << 10}

    assert container.run("true64") == ""


@pytest.fixture
def disk(tmp_path):
    """A block device of the test's own, with a scheduler that knows weights; its major and minor number."""
    image = tmp_path / "disk"
    with open(image, "wb") as file:
        file.truncate(MB)
    device = subprocess.run(["losetup", "--find", "--show", image], capture_output=True, text=True)
    if device.returncode != 0:
        pytest.skip(f"this machine lacks loop devices: {device.stderr}")
    path = device.stdout.strip()
    scheduler = Path(f"/sys/block/{os.path.basename(path)}/queue/scheduler")
    if "bfq" in scheduler.read_text():
        scheduler.write_text("bfq")
    number = os.stat(path).st_rdev
    yield {"major": os.major(number), "minor": os.minor(number)}
    subprocess.run(["losetup", "--detach", path], check=True)


def block_io(container):
    return "blkio" if os.path.ismount("/sys/fs/cgroup/blkio") else "io"


@pytest.mark.proves(
    *(
        f"linux.resources.blockIO.throttle{what}Device[].{name}"
        for what in ("ReadBps", "WriteBps", "ReadIOPS", "WriteIOPS")
        for name in ("major", "minor", "rate")
    )
)
def test_a_device_is_throttled(with_cgroups, bundle, disk):
    rates = {"ReadBps": 1 * MB, "WriteBps": 2 * MB, "ReadIOPS": 300, "WriteIOPS": 400}
    bundle.resources["blockIO"] = {f"throttle{what}Device": [{**disk, "rate": rate}] for what, rate in rates.items()}
    with_cgroups.sleeping()
    device = f"{disk['major']}:{disk['minor']}"

    if block_io(with_cgroups) == "io":
        line = f"{device} rbps={MB} wbps={2 * MB} riops=300 wiops=400"
        assert lines_of(with_cgroups, "io", "io.max") == [line]
    else:
        for file, rate in zip(("read_bps", "write_bps", "read_iops", "write_iops"), rates.values()):
            assert lines_of(with_cgroups, "blkio", f"blkio.throttle.{file}_device") == [f"{device} {rate}"]


@pytest.mark.proves(
    "linux.resources.blockIO.weight",
    *(f"linux.resources.blockIO.weightDevice[].{n}" for n in ("major", "minor", "weight")),
)
@pytest.mark.needs("weights of block I/O")
@pytest.mark.differs("crun", "it knows the weights of a scheduler that Linux 5.0 has dropped")
def test_block_io_has_its_weights(with_cgroups, bundle, disk):
    bundle.resources["blockIO"] = {"weight": 300, "weightDevice": [{**disk, "weight": 700}]}
    with_cgroups.sleeping()
    device = f"{disk['major']}:{disk['minor']}"

    if block_io(with_cgroups) == "io":
        found = lines_of(with_cgroups, "io", "io.bfq.weight")
        assert found == ["default 300", f"{device} 700"]
    else:
        assert lines_of(with_cgroups, "blkio", "blkio.bfq.weight") == ["300"]
        assert lines_of(with_cgroups, "blkio", "blkio.bfq.weight_device") == ["default 300", f"{device} 700"]


# A hierarchy more, in a mount namespace of the test's own: no machine has all of them mounted as v1.
LAYOUT = """
set -e
mount -t tmpfs -o mode=755 tmpfs "$1"
for one in /sys/fs/cgroup/*; do mkdir "$1/${one##*/}"; mount --rbind "$one" "$1/${one##*/}"; done
mkdir "$1/$2"
for one in $(echo "$2" | tr , " "); do [ -e "$1/$one" ] || ln -s "$2" "$1/$one"; done
for try in $(seq 20); do
    # v1 can have no controller that v2 shares out, and to take it back is not done at once.
    find "$1/unified" -depth -name cgroup.subtree_control -exec sh -c 'echo -$1 >$2' sh "$2" {} ";" 2>/dev/null
    mount -t cgroup -o "$2" cgroup "$1/$2" 2>/dev/null && break
    sleep 0.1
done
mountpoint -q "$1/$2"
mount --rbind "$1" /sys/fs/cgroup
exec sleep 1000
"""
# A hierarchy whose cgroups the kernel has not freed yet when it is unmounted stays, until the next one unmounts it.
# Then it goes, some 50 ms later: whoever mounts it again before that makes a new one, which must go, too. Engines of
# other tests make cgroups of theirs in every hierarchy that they find, and leave them.
UNMOUNT = """
mount -t cgroup -o "$1" cgroup "$2" && find "$2" -mindepth 1 -depth -type d -exec rmdir {} +
umount "$2" && sleep 0.5
"""


def is_gone(controllers, directory):
    if f":{controllers}:" not in Path("/proc/self/cgroup").read_text():
        return True
    subprocess.run(["unshare", "--mount", "sh", "-c", UNMOUNT, "sh", controllers, directory], capture_output=True)
    return False


@pytest.fixture
def mounted(with_cgroups, tmp_path):
    """Have a hierarchy of v1 with the controllers given, for this container alone."""
    layouts = []

    def mounted(controllers):
        (tmp_path / "cgroups").mkdir()
        command = ["unshare", "--mount", "sh", "-c", LAYOUT, "sh", tmp_path / "cgroups", controllers]
        layouts.append(subprocess.Popen(command, stderr=subprocess.PIPE))
        command = Path(f"/proc/{layouts[0].pid}/comm")
        wait_until(lambda: layouts[0].poll() is not None or command.read_text() == "sleep\n", "it is mounted")
        if layouts[0].poll() is not None:
            pytest.skip(f"this machine lacks cgroup {controllers} of v1")
        with_cgroups.prefix = ["nsenter", "--target", str(layouts[0].pid), "--mount"]
        return with_cgroups

    with criu.hierarchies_change():
        yield mounted
        with_cgroups.call("delete", "--force", with_cgroups.id)
        with_cgroups.prefix = []
        for layout in layouts:
            layout.kill()
            layout.wait()
            # The kernel frees the cgroups of the whole machine one after another: other tests make that take time.
            wait_until(lambda layout=layout: is_gone(layout.args[-1], tmp_path), "the hierarchy has gone", 60)


@pytest.mark.needs("cgroup v1")
@pytest.mark.proves(
    "linux.resources.network.classID",
    "linux.resources.network.priorities[].name",
    "linux.resources.network.priorities[].priority",
)
def test_packets_have_a_class_and_a_priority(mounted, bundle):
    bundle.resources["network"] = {"classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}]}
    container = mounted("net_cls,net_prio").sleeping()

    assert lines_of(container, "net_cls", "net_cls.classid") == ["1048577"]
    assert "lo 5" in lines_of(container, "net_prio", "net_prio.ifpriomap")


@pytest.mark.needs("cgroup v2 alone")
@pytest.mark.differs("crun", "it refuses them")
def test_v2_has_neither_classes_nor_priorities_of_packets(container, bundle):
    bundle.resources["network"] = {"classID": 0x100001, "priorities": [{"name": "lo", "priority": 5}]}

    assert container.run("echo", "runs all the same") == "runs all the same\n"


@pytest.mark.needs("cgroup v1")
def test_huge_pages_are_limited_on_v1(mounted, bundle):
    bundle.resources["hugepageLimits"] = [{"pageSize": "2MB", "limit": 4 * MB}]
    container = mounted("hugetlb").sleeping()

    assert lines_of(container, "hugetlb", "hugetlb.2MB.limit_in_bytes") == [str(4 * MB)]


@pytest.fixture
def rdma_device():
    """A device that is software on top of loopback."""
    made = subprocess.run(["rdma", "link", "add", "pyrun-rxe", "type", "rxe", "netdev", "lo"], capture_output=True)
    if made.returncode != 0:
        pytest.skip(f"this machine lacks a software RDMA device: {made.stderr.decode()}")
    yield "pyrun-rxe"
    subprocess.run(["rdma", "link", "delete", "pyrun-rxe"], check=True)


@pytest.mark.needs("cgroup rdma")
@pytest.mark.proves("linux.resources.rdma[].hcaHandles", "linux.resources.rdma[].hcaObjects")
def test_rdma_handles_and_objects_are_limited(with_cgroups, bundle, rdma_device):
    bundle.resources["rdma"] = {rdma_device: {"hcaHandles": 3, "hcaObjects": 10000}}
    with_cgroups.sleeping()

    (line,) = lines_of(with_cgroups, "rdma", "rdma.max")
    assert line.split() == [rdma_device, "hca_handle=3", "hca_object=10000"]


def paths(text):
    """Return the path by controller of /proc/PID/cgroup."""
    fields = [line.split(":", 2) for line in text.splitlines()]
    return {controller: path for _, controllers, path in fields for controller in controllers.split(",")}


@pytest.fixture
def parents():
    """Remove the cgroups of this name, which runtimes leave where the container's was the only one in them."""
    name = f"test-pyrun-{uuid.uuid4().hex[:8]}"
    yield name
    for directory in cgroups_named(name):
        os.rmdir(directory)


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/{}/{}", id="absolute", marks=pytest.mark.proves("linux.cgroupsPath")),
        pytest.param("{}/{}", id="relative", marks=pytest.mark.proves("linux.cgroupsPath: relative")),
    ],
)
def test_the_cgroup_is_where_the_config_says(container, bundle, parents, path):
    bundle.linux["cgroupsPath"] = path.format(parents, container.id)
    inside = paths(container.look("cat /proc/self/cgroup"))
    own = paths(Path("/proc/self/cgroup").read_text())
    controller = "pids" if "pids" in own else ""
    expected = path.format(parents, container.id)

    assert inside == paths(container.proc("cgroup"))
    assert inside[controller] == (expected if path.startswith("/") else f"{own[controller].rstrip('/')}/{expected}")
    assert str(container.pid()) in (container.cgroup(controller) / "cgroup.procs").read_text().split()
    container.delete("--force")


@pytest.mark.needs(f"{V2_ROOT}/cgroup.procs")
@pytest.mark.parametrize(
    "namespaces",
    [(), ("user",), pytest.param(("time",), marks=pytest.mark.only_pyrun("Debian 12's know none")), ("cgroup",)],
    ids=str,
)
def test_a_cgroup_that_was_killed_before_can_be_used_again(container, bundle, namespaces):
    """Linux 6.14 and later kill what is cloned into it."""
    cgroup = Path(V2_ROOT, container.id)
    cgroup.mkdir()
    if (kill := cgroup / "cgroup.kill").exists():
        kill.write_text("1")
    bundle.linux["cgroupsPath"] = f"/{container.id}"
    for type_ in namespaces:
        bundle.user_namespace() if type_ == "user" else bundle.namespace(type_)
    container.sleeping()

    assert container.exec("echo", "entered") == "entered\n"
    assert str(container.pid()) in (cgroup / "cgroup.procs").read_text().split()
    if "cgroup" in namespaces:
        assert container.exec("cat", "/proc/self/cgroup").splitlines()[-1] == "0::/"


def test_without_a_path_the_cgroup_has_the_containers_name(container):
    assert f"/{container.id}" in container.look("cat /proc/self/cgroup")
    assert f"/{container.id}" in container.proc("cgroup")


OPENED = """
for one in $(ls /dev/test); do
    for way in "<" ">"; do
        eval ": $way /dev/test/$one" 2>&1 | sed "s,.*: ,$one $way ,"
    done
done
"""


def rules_of(container):
    """Return what there is of the device rules: the lines of v1, the number of v2's programs."""
    if is_v1(container, "devices"):
        return container.cgroup_file("devices", "devices.list").splitlines()
    directory = os.open(container.cgroup(""), os.O_RDONLY)
    attached = bpf.attached(directory, bpf.BPF_CGROUP_DEVICE)
    os.close(directory)
    return len(attached)


@pytest.mark.proves(*(f"linux.resources.devices[].{name}" for name in ("allow", "type", "major", "minor", "access")))
def test_a_device_can_be_opened_as_its_rules_say(container, bundle):
    """ENXIO is beyond the rules: the numbers are nobody's (admin-guide/devices.txt: 60 and 61 are for local use)."""
    for name, type_, major, minor in (("r", "c", 60, 0), ("w", "c", 60, 1), ("no", "c", 60, 2), ("any", "b", 61, 9)):
        device = {"path": f"/dev/test/{name}", "type": type_, "major": major, "minor": minor}
        bundle.linux.setdefault("devices", []).append(device)
    bundle.resources["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 60, "minor": 0, "access": "r"},
        {"allow": True, "type": "c", "major": 60, "minor": 1, "access": "rw"},
        {"allow": True, "type": "c", "major": 60, "minor": 2, "access": "rw"},
        {"allow": True, "type": "b", "major": 61, "access": "rwm"},
        {"allow": False, "type": "c", "major": 60, "minor": 1, "access": "r"},
        {"allow": False, "type": "c", "major": 60, "minor": 2, "access": "rw"},
    ]
    inside = container.look(OPENED).splitlines()

    passes, is_refused = "No such device or address", "Operation not permitted"
    assert inside == [
        f"any < {passes}",
        f"any > {passes}",
        f"no < {is_refused}",
        f"no > {is_refused}",
        f"r < {passes}",
        f"r > {is_refused}",
        f"w < {is_refused}",
        f"w > {passes}",
    ]
    rules = rules_of(container)
    assert rules == 1 or {"c 60:0 r", "c 60:1 w", "b 61:* rwm"} <= set(rules)
    assert rules == 1 or not {"c 60:2 rw", "a *:* rwm"} & set(rules)


@pytest.mark.proves("linux.resources.devices: the default ones")
@pytest.mark.parametrize(
    "names",
    [
        "null zero full random urandom tty ptmx",
        pytest.param("net/tun", marks=pytest.mark.differs("crun", "tun is not among them before 1.20")),
    ],
)
def test_all_devices_are_denied_by_default_but_the_usual_ones(container, bundle, names):
    bundle.linux["devices"] = [{"path": "/dev/net/tun", "type": "c", "major": 10, "minor": 200}]
    inside = container.look(f"for one in {names}; do (: < /dev/$one) 2>&1; (: > /dev/$one) 2>&1; done")
    rules = rules_of(container)

    assert "not permitted" not in inside
    assert rules == 1 or "a *:* rwm" not in rules
    assert rules == 1 or {"c 1:3 rwm", "c 1:5 rwm", "c 5:2 rwm", "c 136:* rwm", "c *:* m", "b *:* m"} <= set(rules)
