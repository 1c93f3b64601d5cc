"""update: each option on a container that runs; what it does not mention stays as it is."""

import json

import pytest
from harness import V2_ALONE as V2

pytestmark = pytest.mark.needs("root", "/bin/busybox")

# option, value, controller, (file, content) on v1, (file, content) on v2
OPTIONS = [
    ("--cpu-period", "50000", "cpu", ("cpu.cfs_period_us", "50000"), ("cpu.max", "max 50000")),
    ("--cpu-quota", "40000", "cpu", ("cpu.cfs_quota_us", "40000"), ("cpu.max", "40000 100000")),
    ("--cpu-share", "2048", "cpu", ("cpu.shares", "2048"), ("cpu.weight", "174")),
    ("--cpu-idle", "1", "cpu", ("cpu.idle", "1"), ("cpu.idle", "1")),
    ("--cpu-burst", "20000", "cpu", ("cpu.cfs_burst_us", "20000"), ("cpu.max.burst", "20000")),
    ("--cpuset-cpus", "0", "cpuset", ("cpuset.cpus", "0"), ("cpuset.cpus", "0")),
    ("--cpuset-mems", "0", "cpuset", ("cpuset.mems", "0"), ("cpuset.mems", "0")),
    ("--memory", "64m", "memory", ("memory.limit_in_bytes", "67108864"), ("memory.max", "67108864")),
    ("--memory", "1073741824", "memory", ("memory.limit_in_bytes", "1073741824"), ("memory.max", "1073741824")),
    (
        "--memory-reservation",
        "1.5GiB",
        "memory",
        ("memory.soft_limit_in_bytes", "1610612736"),
        ("memory.low", "1610612736"),
    ),
    ("--pids-limit", "77", "pids", ("pids.max", "77"), ("pids.max", "77")),
    ("--pids-limit", "-1", "pids", ("pids.max", "max"), ("pids.max", "max")),
]


V1_MEMORY = {"limit_in_bytes": 64, "soft_limit_in_bytes": 32, "memsw.limit_in_bytes": 128}


def needs(controller):
    return pytest.mark.needs(f"cgroup {controller}")


@pytest.mark.parametrize(
    "option, value, controller, v1, v2", [pytest.param(*one, marks=needs(one[2])) for one in OPTIONS]
)
def test_an_option_changes_its_file(container, option, value, controller, v1, v2):
    container.sleeping()
    container.works("update", option, value, container.id)
    file, content = v2 if V2 else v1

    assert container.cgroup_file(controller, file) == content


@pytest.mark.needs("weights of block I/O")
@pytest.mark.parametrize("how", ["an option", "resources"])
def test_a_weight_of_block_io_is_that_of_the_scheduler(container, how):
    container.sleeping()
    if how == "an option":
        container.works("update", "--blkio-weight", "200", container.id)
    else:
        container.works("update", "-r", "-", container.id, input=b'{"blockIO": {"weight": 200}}')

    assert container.cgroup_file(*("io", "io.bfq.weight") if V2 else ("blkio", "blkio.bfq.weight")) in (
        "200",
        "default 200",
    )


@pytest.mark.needs("realtime limits of cgroup v1")
def test_realtime_has_its_time_on_v1(container):
    container.sleeping()
    container.works("update", "--cpu-rt-period", "500000", "--cpu-rt-runtime", "40000", container.id)

    assert container.cgroup_file("cpu", "cpu.rt_period_us") == "500000"
    assert container.cgroup_file("cpu", "cpu.rt_runtime_us") == "40000"


@pytest.mark.needs("cgroup v2 alone")
@pytest.mark.only_pyrun("runc and crun ignore it")
@pytest.mark.parametrize(
    "option, name", [("--cpu-rt-period", "realtimePeriod"), ("--cpu-rt-runtime", "realtimeRuntime")]
)
def test_realtime_limits_are_refused_by_name_on_v2(container, option, name):
    container.sleeping()

    assert f"cpu.{name}: cgroup v2 has no realtime limits" in container.fails("update", option, "40000", container.id)


@needs("cpu")
def test_a_burst_is_refused_that_is_more_than_the_quota(container, bundle):
    bundle.resources["cpu"] = {"quota": 20000}
    container.sleeping()
    file = "cpu.max.burst" if V2 else "cpu.cfs_burst_us"

    assert file in container.fails("update", "--cpu-burst", "30000", container.id)
    assert container.cgroup_file("cpu", file) == "0"


@needs("cpu")
def test_an_idle_container_is_one_no_more(container, bundle):
    bundle.resources["cpu"] = {"idle": 1}
    container.sleeping()
    container.works("update", "--cpu-idle", "0", "--cpu-share", "2048", container.id)
    weight = ("cpu.weight", "174") if V2 else ("cpu.shares", "2048")

    assert container.cgroup_file("cpu", "cpu.idle") == "0"
    assert container.cgroup_file("cpu", weight[0]) == weight[1]


@needs("memory")
@pytest.mark.parametrize("swap, v1, v2", [("96m", str(96 << 20), str(32 << 20)), ("-1", "9223372036854771712", "max")])
def test_memory_and_swap_are_limited_together(container, swap, v1, v2):
    container.sleeping()
    container.works("update", "--memory", "64m", "--memory-swap", swap, container.id)

    assert container.cgroup_file("memory", "memory.max" if V2 else "memory.limit_in_bytes") == str(64 << 20)
    assert container.cgroup_file("memory", "memory.swap.max" if V2 else "memory.memsw.limit_in_bytes") == (
        v2 if V2 else v1
    )


@needs("memory")
@needs("pids")
@needs("cpu")
def test_resources_on_standard_input_change_their_files(container):
    container.sleeping()
    resources = {
        "memory": {"limit": 64 << 20, "reservation": 32 << 20, "swap": 128 << 20},
        "cpu": {"shares": 2048, "quota": 40000, "period": 80000, "burst": 10000},
        "pids": {"limit": 55},
    }
    container.works("update", "--resources", "-", container.id, input=json.dumps(resources).encode())
    if V2:
        expected = {"memory.max": 64 << 20, "memory.low": 32 << 20, "memory.swap.max": 64 << 20, "cpu.weight": 174}
        expected.update({"cpu.max": "40000 80000", "cpu.max.burst": 10000, "pids.max": 55})
    else:
        expected = {f"memory.{name}": size << 20 for name, size in V1_MEMORY.items()}
        expected.update({"cpu.shares": 2048, "cpu.cfs_quota_us": 40000, "cpu.cfs_period_us": 80000})
        expected.update({"cpu.cfs_burst_us": 10000, "pids.max": 55})

    assert {name: container.cgroup_file(name.partition(".")[0], name) for name in expected} == {
        name: str(value) for name, value in expected.items()
    }


@needs("pids")
def test_resources_in_a_file_change_their_files(container, tmp_path):
    (tmp_path / "resources.json").write_text('{"pids": {"limit": 55}}')
    container.sleeping()
    container.works("update", "-r", tmp_path / "resources.json", container.id)

    assert container.cgroup_file("pids", "pids.max") == "55"


@needs("pids")
def test_device_rules_stay_as_they_are(container):
    container.sleeping()
    container.works("update", "--pids-limit", "55", container.id)

    assert container.exec("sh", "-c", ": >/dev/null && echo written") == "written\n"


@needs("cpu")
def test_a_quota_keeps_the_period_and_a_period_the_quota(container, bundle):
    bundle.resources["cpu"] = {"quota": 20000, "period": 50000}
    container.sleeping()
    files = ["cpu.max"] if V2 else ["cpu.cfs_quota_us", "cpu.cfs_period_us"]
    container.works("update", "--cpu-quota", "30000", container.id)
    first = " ".join(container.cgroup_file("cpu", file) for file in files)
    container.works("update", "--cpu-period", "60000", container.id)
    second = " ".join(container.cgroup_file("cpu", file) for file in files)

    assert (first, second) == ("30000 50000", "30000 60000")


@needs("memory")
def test_memory_keeps_what_was_set_of_swap_before(container, bundle):
    bundle.resources["memory"] = {"limit": 64 << 20, "swap": 128 << 20}
    container.sleeping()
    file = "memory.swap.max" if V2 else "memory.memsw.limit_in_bytes"
    before = container.cgroup_file("memory", file)
    container.works("update", "--memory", "32m", container.id)

    assert container.cgroup_file("memory", file) == before


@needs("memory")
def test_memory_without_a_limit_has_none_of_swap_either(container, bundle):
    bundle.resources["memory"] = {"limit": 64 << 20, "swap": 128 << 20}
    container.sleeping()
    container.works("update", "--memory", "-1", container.id)
    files = ["memory.max", "memory.swap.max"] if V2 else ["memory.limit_in_bytes", "memory.memsw.limit_in_bytes"]

    assert {container.cgroup_file("memory", file) for file in files} <= {"max", "9223372036854771712"}


@needs("pids")
def test_with_resources_the_other_options_are_ignored(container):
    container.sleeping()
    container.works("update", "--pids-limit", "5", "--resources", "-", container.id, input=b'{"pids": {"limit": 55}}')

    assert container.cgroup_file("pids", "pids.max") == "55"


@needs("pids")
def test_a_created_container_can_be_updated(container):
    container.create()
    container.works("update", "--pids-limit", "55", container.id)

    assert container.cgroup_file("pids", "pids.max") == "55"


@needs("pids")
@pytest.mark.differs("crun", "it ignores names in another case")
def test_resources_may_have_names_in_another_case(container):
    container.sleeping()
    container.works("update", "-r", "-", container.id, input=b'{"Pids": {"LIMIT": 44}}')

    assert container.cgroup_file("pids", "pids.max") == "44"


@needs("pids")
@pytest.mark.differs("crun", "it writes them")
def test_device_rules_in_resources_are_ignored_whatever_they_say(container):
    container.sleeping()
    resources = {"pids": {"limit": 44}, "devices": [{"allow": True, "type": "c", "major": 1, "access": "rwa"}]}
    container.works("update", "-r", "-", container.id, input=json.dumps(resources).encode())

    assert container.cgroup_file("pids", "pids.max") == "44"


@needs("pids")
@pytest.mark.parametrize("how", ["an option", "resources"])
def test_a_pids_limit_of_0_leaves_it_as_it_was(container, bundle, how):
    bundle.resources["pids"] = {"limit": 55}
    container.sleeping()
    if how == "an option":
        container.works("update", "--pids-limit", "0", container.id)
    else:
        container.works("update", "-r", "-", container.id, input=b'{"pids": {"limit": 0}}')

    assert container.cgroup_file("pids", "pids.max") == "55"


@pytest.mark.parametrize("option", ["--kernel-memory", "--kernel-memory-tcp"])
def test_obsolete_options_are_accepted(container, option):
    container.sleeping()

    assert container.works("update", option, "64m", container.id) == ""


@pytest.mark.only_pyrun("the wording is ours")
@pytest.mark.parametrize(
    "options, complaint",
    [
        (["--cpu-quota", "lots"], 'invalid value "lots" for flag -cpu-quota'),
        (["--cpuset-cpus", "first"], "cpu.cpus"),
        (["--blkio-weight", "5000"], "blockIO.weight"),
        (["--memory", "64m", "--memory-swap", "32m"], "memory.swap"),
        (["--resources", "/nowhere.json"], "/nowhere.json: No such file or directory"),
    ],
)
def test_what_cannot_be_is_refused_by_name_and_changes_nothing(container, options, complaint):
    container.sleeping()
    before = container.cgroup_file("pids", "pids.max")

    assert complaint in container.fails("update", "--pids-limit", "5", *options, container.id)
    assert container.cgroup_file("pids", "pids.max") == before


@pytest.mark.only_pyrun("the wording is ours")
@pytest.mark.parametrize("size", ["1x", "m", "", "-2", "1.5.5m", "1kk"])
def test_what_is_no_size_is_refused(container, size):
    container.sleeping()

    assert f'invalid value "{size}" for flag -memory' in container.fails("update", f"--memory={size}", container.id)


@pytest.mark.only_pyrun("crun has its own wording")
def test_a_stopped_container_is_not_updated(container):
    container.run_detached()
    container.wait_until("stopped")

    assert "container not running" in container.fails("update", "--pids-limit", "55", container.id)


@pytest.mark.only_pyrun("the wording is ours")
def test_standard_input_that_is_closed_is_told(container):
    container.sleeping()
    container.prefix = ["sh", "-c", 'exec "$@" <&-', "sh"]

    assert "standard input: not JSON: Expecting value" in container.fails("update", "-r", "-", container.id)


@pytest.mark.only_pyrun("the wording is ours")
def test_resources_that_are_no_json_are_refused(container):
    container.sleeping()

    assert "standard input" in container.fails("update", "-r", "-", container.id, input=b"{")


@needs("memory")
@pytest.mark.proves("linux.resources.memory.checkBeforeUpdate")
@pytest.mark.only_pyrun("crun 1.8 waits for the kernel, runc words it so on v1 alone")
def test_less_memory_than_is_in_use_is_refused_with_the_usage(container, bundle):
    bundle.mount("/tmp", "tmpfs", "tmpfs")
    bundle.resources["memory"] = {"limit": 64 << 20, "checkBeforeUpdate": True}
    container.look("head -c 20000000 /dev/zero > /tmp/fill")
    resources = b'{"memory": {"limit": 4194304, "checkBeforeUpdate": true}}'

    message = container.fails("update", "-r", "-", container.id, input=resources)

    assert ("in use" if V2 else "current usage") in message
    assert container.exec("cat", "/proc/1/comm") == "sleep\n"
