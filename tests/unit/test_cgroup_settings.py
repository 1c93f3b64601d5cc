"""linux.resources as values for files, in both versions, before anything is written."""

import pytest

from pyrun.cgroup import block_io, cpu, hugetlb, memory, network
from pyrun.cgroup.group import Cgroup
from pyrun.cgroup.resources import plan
from pyrun.config.linux import Resources
from pyrun.config.node import Node
from pyrun.errors import ConfigError

GB = 1 << 30


def resources(version="1.3.0", **json):
    return Resources(Node(json, "config.json: linux.resources."), version)


def values(settings):
    return [(setting.file, setting.value) for setting in settings]


@pytest.mark.parametrize(
    "json, v1, v2",
    [
        ({}, [], []),
        ({"limit": 0, "swap": 0, "reservation": 0}, [], []),
        ({"limit": GB}, [("memory.limit_in_bytes", GB)], [("memory.max", str(GB))]),
        (
            {"limit": GB, "swap": 3 * GB},
            [("memory.limit_in_bytes", GB), ("memory.memsw.limit_in_bytes", 3 * GB)],
            [("memory.swap.max", str(2 * GB)), ("memory.max", str(GB))],
        ),
        (
            {"limit": GB, "swap": GB},
            [("memory.limit_in_bytes", GB), ("memory.memsw.limit_in_bytes", GB)],
            [("memory.swap.max", "0"), ("memory.max", str(GB))],
        ),
        (
            {"limit": GB, "swap": -1},
            [("memory.limit_in_bytes", GB), ("memory.memsw.limit_in_bytes", -1)],
            [("memory.swap.max", "max"), ("memory.max", str(GB))],
        ),
        (
            {"limit": -1},
            [("memory.limit_in_bytes", -1), ("memory.memsw.limit_in_bytes", -1)],
            [("memory.swap.max", "max"), ("memory.max", "max")],
        ),
        ({"reservation": 4096}, [("memory.soft_limit_in_bytes", 4096)], [("memory.low", "4096")]),
        ({"swappiness": 0}, [("memory.swappiness", 0)], []),
        ({"swappiness": (1 << 64) - 1}, [], []),
        (
            {"disableOOMKiller": True, "useHierarchy": True},
            [("memory.use_hierarchy", 1), ("memory.oom_control", 1)],
            [],
        ),
        ({"kernel": 4096, "disableOOMKiller": False}, [], []),
        ({"kernelTCP": 4096}, [("memory.kmem.tcp.limit_in_bytes", 4096)], []),
    ],
)
def test_memory_in_both_versions(json, v1, v2):
    config = resources(memory=json).memory

    assert values(memory.settings(config, False)) == v1
    assert values(memory.settings(config, True)) == v2


def test_v2_refuses_a_swap_limit_without_a_memory_limit():
    with pytest.raises(ConfigError, match="memory.swap: needs memory.limit"):
        memory.settings(resources(memory={"swap": 4096}).memory, True)


@pytest.mark.parametrize("shares, weight", [(1, 1), (2, 1), (1024, 100), (512, 59), (262144, 10000), (1 << 63, 10000)])
def test_shares_become_weights_on_the_curve_of_runc(shares, weight):
    assert cpu.weight(shares) == weight


def test_more_shares_never_weigh_less():
    weights = [cpu.weight(shares) for shares in range(2, 262145, 61)]

    assert weights == sorted(weights)


@pytest.mark.parametrize(
    "json, v1, v2",
    [
        ({"shares": 0, "quota": 0, "period": 0, "realtimePeriod": 0, "realtimeRuntime": 0}, [], []),
        ({"shares": 1024}, [("cpu.shares", 1024)], [("cpu.weight", 100)]),
        (
            {"quota": 5000, "period": 10000},
            [("cpu.cfs_period_us", 10000), ("cpu.cfs_quota_us", 5000)],
            [("cpu.max", "5000 10000")],
        ),
        ({"quota": 5000}, [("cpu.cfs_quota_us", 5000)], [("cpu.max", "5000")]),
        ({"quota": -1}, [("cpu.cfs_quota_us", -1)], [("cpu.max", "max")]),
        ({"quota": -7}, [("cpu.cfs_quota_us", -1)], [("cpu.max", "max")]),
        ({"period": 10000}, [("cpu.cfs_period_us", 10000)], [("cpu.max", 10000)]),
        ({"burst": 0}, [("cpu.cfs_burst_us", 0)], [("cpu.max.burst", 0)]),
        ({"idle": 0, "shares": 2}, [("cpu.shares", 2), ("cpu.idle", 0)], [("cpu.weight", 1), ("cpu.idle", 0)]),
        ({"idle": 1, "shares": 2}, [("cpu.idle", 1)], [("cpu.idle", 1)]),
    ],
)
def test_cpu_in_both_versions(json, v1, v2):
    config = resources(cpu=json).cpu

    assert values(cpu.settings(config, False)) == v1
    assert values(cpu.settings(config, True)) == v2


@pytest.mark.parametrize(
    "json, v2, message",
    [
        ({"shares": 1}, False, "cpu.shares: the minimum allowed cpu-shares is 2"),
        ({"shares": 262145}, False, "cpu.shares: the maximum allowed cpu-shares is 262144"),
        ({"realtimeRuntime": 1}, True, "cpu.realtimeRuntime: cgroup v2 has no realtime limits"),
        ({"realtimePeriod": 1}, True, "cpu.realtimePeriod: cgroup v2 has no realtime limits"),
    ],
)
def test_an_impossible_cpu_limit_is_refused_by_name(json, v2, message):
    with pytest.raises(ConfigError, match=f"config.json: linux.resources.{message}"):
        cpu.settings(resources(cpu=json).cpu, v2)


def test_a_cpuset_is_two_files():
    config = resources(cpu={"cpus": "0-3,7", "mems": "0"}).cpu

    assert values(cpu.placement(config, True)) == [("cpuset.cpus", "0-3,7"), ("cpuset.mems", "0")]


@pytest.mark.parametrize("text", ["all", "0;1", "0\n1"])
def test_a_cpuset_that_is_no_list_is_refused(text):
    with pytest.raises(ConfigError, match="cpu.cpus: .* is not a list of numbers"):
        cpu.placement(resources(cpu={"cpus": text}).cpu, False)


@pytest.mark.parametrize("weight, converted", [(10, 1), (100, 910), (500, 4950), (1000, 10000)])
def test_the_ends_of_blkio_weights_are_the_ends_of_io_weights(weight, converted):
    assert block_io.io_weight(weight) == converted


def test_block_io_falls_back_from_one_scheduler_to_the_other():
    config = resources(blockIO={"weight": 500, "weightDevice": [{"major": 8, "minor": 0, "weight": 10}]}).block_io
    v1, v2 = block_io.settings(config, False), block_io.settings(config, True)

    assert values(v1) == [("blkio.weight", 500), ("blkio.weight_device", "8:0 10")]
    assert values(one.otherwise for one in v1) == [("blkio.bfq.weight", 500), ("blkio.bfq.weight_device", "8:0 10")]
    assert values(v2) == [("io.bfq.weight", 500), ("io.bfq.weight", "8:0 10")]
    assert values(one.otherwise for one in v2) == [("io.weight", 4950), ("io.weight", "8:0 1")]


def test_throttles_in_both_versions():
    config = resources(
        blockIO={
            "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 600}],
            "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 0}],
        }
    ).block_io

    assert values(block_io.settings(config, False)) == [
        ("blkio.throttle.read_bps_device", "8:0 600"),
        ("blkio.throttle.write_iops_device", "8:16 0"),
    ]
    assert values(block_io.settings(config, True)) == [("io.max", "8:0 rbps=600"), ("io.max", "8:16 wiops=max")]


@pytest.mark.parametrize(
    "json, name",
    [
        ({"leafWeight": 10}, "leafWeight"),
        ({"weightDevice": [{"major": 8, "minor": 0, "leafWeight": 10}]}, r"weightDevice\[0\].leafWeight"),
    ],
)
def test_v2_refuses_leaf_weights_by_name(json, name):
    with pytest.raises(
        ConfigError, match=f"config.json: linux.resources.blockIO.{name}: cgroup v2 has no leaf weights"
    ):
        block_io.settings(resources(blockIO=json).block_io, True)


def test_huge_pages_are_limited_when_reserved_and_when_used():
    limits = resources(hugepageLimits=[{"pageSize": "2MB", "limit": 4096}]).hugepage_limits

    assert values(hugetlb.settings(limits, False)) == [
        ("hugetlb.2MB.rsvd.limit_in_bytes", 4096),
        ("hugetlb.2MB.limit_in_bytes", 4096),
    ]
    assert values(hugetlb.settings(limits, True)) == [("hugetlb.2MB.rsvd.max", 4096), ("hugetlb.2MB.max", 4096)]


@pytest.mark.parametrize("size", ["3MB", "9" * 6000 + "KB"])
def test_a_page_size_that_the_kernel_does_not_have_is_refused(size):
    limits = resources(hugepageLimits=[{"pageSize": size, "limit": 1}]).hugepage_limits

    with pytest.raises(ConfigError, match=r"hugepageLimits\[0\].pageSize: "):
        hugetlb.settings(limits, True)


def test_rdma_is_one_line_a_device():
    config = resources(rdma={"mlx5_1": {"hcaHandles": 3, "hcaObjects": 10000}, "mlx4_0": {"hcaObjects": 1000}, "x": {}})

    assert values(network.rdma(config, True)) == [
        ("rdma.max", "mlx5_1 hca_handle=3 hca_object=10000"),
        ("rdma.max", "mlx4_0 hca_object=1000"),
    ]


def test_a_limit_for_a_controller_that_is_not_there_is_refused():
    with pytest.raises(ConfigError, match="config.json: linux.resources.pids.limit: cgroup controller pids is not av"):
        plan(Cgroup({"memory": "/nonexistent"}), resources(pids={"limit": 7}))


def test_a_part_that_asks_for_nothing_needs_no_controller():
    empty = resources(memory={}, cpu={"shares": 0}, pids={}, blockIO={"weight": 0}, network={}, hugepageLimits=[])

    assert plan(Cgroup({"name=systemd": "/nonexistent"}), empty) == []


@pytest.mark.parametrize("limit, value", [(7, 7), (0, 0), (-1, "max"), (-5, "max")])
def test_a_pids_limit_of_0_is_a_limit(limit, value):
    [(_, _, settings)] = plan(Cgroup({"pids": "/nonexistent"}), resources(pids={"limit": limit}))

    assert values(settings) == [("pids.max", value)]


@pytest.mark.parametrize("version", ["1.0.0", "1.0.2-dev", "1.1.0+dev", "1.2.1"])
def test_before_1_3_a_pids_limit_of_0_is_none(version):
    assert plan(Cgroup({"pids": "/nonexistent"}), resources(version, pids={"limit": 0})) == []


def test_class_id_and_priorities_are_those_of_v1():
    config = resources(network={"classID": 7, "priorities": [{"name": "lo", "priority": 1}]})
    written = plan(Cgroup({"net_cls": "/nonexistent", "net_prio": "/nonexistent"}), config)

    assert [values(settings) for _, _, settings in written] == [
        [("net_cls.classid", 7)],
        [("net_prio.ifpriomap", "lo 1")],
    ]


def test_unified_needs_the_v2_hierarchy():
    with pytest.raises(ConfigError, match="config.json: linux.resources.unified: needs cgroup v2"):
        plan(Cgroup({"memory": "/nonexistent"}), resources(unified={"memory.high": "1"}))


@pytest.fixture
def v2(tmp_path):
    """A directory that looks like a v2 cgroup as far as plan() looks."""
    (tmp_path / "cgroup.controllers").write_text("memory pids\n")
    return Cgroup({"": str(tmp_path)})


def test_unified_is_written_line_by_line(v2):
    [(_, _, settings)] = plan(
        v2, resources(unified={"memory.high": "1", "pids.x": "8:0 1\n8:1 2\n", "cgroup.max.x": ""})
    )

    assert values(settings) == [("memory.high", "1"), ("pids.x", "8:0 1"), ("pids.x", "8:1 2"), ("cgroup.max.x", "")]


def test_a_unified_key_of_a_controller_that_is_not_there_is_refused_by_name(v2):
    with pytest.raises(ConfigError) as refusal:
        plan(v2, resources(unified={"hugetlb.2MB.max": "1"}))

    message = "config.json: linux.resources.unified['hugetlb.2MB.max']: cgroup v2 controller hugetlb is not available"
    assert str(refusal.value) == message
