"""process.scheduler, process.ioPriority, process.execCPUAffinity, seen from the host."""

import os
import subprocess

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")


def stat(text, number):
    """Return a field of /proc/PID/stat by its number in proc(5)."""
    return int(text.rpartition(")")[2].split()[number - 3])


def policy(container):
    return stat(container.proc("stat"), 41)


def nice(container):
    return stat(container.proc("stat"), 19)


def real_time_priority(container):
    return stat(container.proc("stat"), 40)


def allowed_cpus(text):
    (line,) = [line for line in text.splitlines() if line.startswith("Cpus_allowed_list")]
    return line.split()[1]


@pytest.mark.parametrize(
    "name, number", [("SCHED_OTHER", 0), ("SCHED_BATCH", 3), ("SCHED_IDLE", 5)], ids=lambda value: str(value)
)
def test_the_program_has_the_policy(container, bundle, name, number):
    bundle.process["scheduler"] = {"policy": name}
    container.sleeping()

    assert policy(container) == number


def test_the_program_is_nice(container, bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7}
    container.sleeping()

    assert nice(container) == 7


@pytest.mark.needs("real-time policies in a cgroup")
@pytest.mark.parametrize("name, number", [("SCHED_FIFO", 1), ("SCHED_RR", 2)])
def test_a_real_time_policy_has_its_priority(container, bundle, name, number):
    bundle.process["scheduler"] = {"policy": name, "priority": 5, "flags": ["SCHED_FLAG_RESET_ON_FORK"]}
    if os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):  # a cgroup has no real time but what it is given
        bundle.resources["cpu"] = {"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000}
    container.sleeping()

    assert (policy(container), real_time_priority(container)) == (number, 5)


def test_the_deadline_policy_has_its_times(container, bundle):
    bundle.process["scheduler"] = {
        "policy": "SCHED_DEADLINE",
        "runtime": 1_000_000,
        "deadline": 20_000_000,
        "period": 30_000_000,
    }
    container.sleeping()
    shown = subprocess.run(["chrt", "-p", str(container.pid())], capture_output=True, text=True, check=True).stdout

    assert "SCHED_DEADLINE" in shown
    assert "1000000/20000000/30000000" in shown


def test_exec_has_the_scheduler_too(container, bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_IDLE"}
    container.sleeping()

    assert stat(container.exec("cat", "/proc/self/stat"), 41) == 5


@pytest.mark.parametrize(
    "wanted, shown",
    [
        ({"class": "IOPRIO_CLASS_IDLE"}, "idle"),
        ({"class": "IOPRIO_CLASS_BE", "priority": 6}, "best-effort: prio 6"),
        ({"class": "IOPRIO_CLASS_RT", "priority": 1}, "realtime: prio 1"),
    ],
    ids=["idle", "best effort", "real time"],
)
def test_the_program_has_the_io_priority(container, bundle, wanted, shown):
    bundle.process["ioPriority"] = wanted
    container.sleeping()

    ionice = subprocess.run(["ionice", "-p", str(container.pid())], capture_output=True, text=True, check=True)
    assert ionice.stdout.strip() == shown


@pytest.fixture
def on_one_cpu():
    """Let this process, and so the runtime, run on one CPU only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield max(before)
    os.sched_setaffinity(0, before)


@pytest.mark.needs("two CPUs")
def test_the_callers_affinity_does_not_reach_the_program(container, on_one_cpu):
    container.sleeping()

    assert len(os.sched_getaffinity(container.pid())) > 1


@pytest.mark.needs("two CPUs")
def test_the_callers_affinity_does_not_reach_what_is_executed(container, on_one_cpu):
    container.sleeping()

    assert allowed_cpus(container.exec("cat", "/proc/self/status")) != str(on_one_cpu)


@pytest.mark.needs("two CPUs")
@pytest.mark.parametrize(
    "wanted, cpus",
    [({"final": "1"}, "1"), ({"initial": "0"}, "0"), ({"initial": "0", "final": "0-1"}, "0-1")],
    ids=["final", "initial", "both"],
)
def test_exec_has_the_affinity_and_the_init_has_not(container, bundle, wanted, cpus):
    bundle.process["execCPUAffinity"] = wanted
    container.sleeping()

    assert allowed_cpus(container.exec("cat", "/proc/self/status")) == cpus
    assert allowed_cpus(container.proc("status")) == "0-1"


def test_an_affinity_without_any_cpu_of_the_machine_is_an_error(container, bundle):
    bundle.process["execCPUAffinity"] = {"final": "4000"}
    container.sleeping()

    assert "set CPU affinity: Invalid argument" in container.fails("exec", container.id, "true", status=255)
