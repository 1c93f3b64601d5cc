"""process.scheduler, process.ioPriority, process.execCPUAffinity."""

import ctypes
import json
import os
import subprocess
from pathlib import Path

import pytest

pytestmark = pytest.mark.needs("root", "/bin/busybox")
newer = pytest.mark.only_pyrun(
    "runc 1.1 and crun 1.8 know no scheduler, ioPriority, execCPUAffinity, and keep the CPUs"
)


def stat(text, number):
    """Return a field of /proc/PID/stat by its number in proc(5)."""
    return int(text.rpartition(")")[2].split()[number - 3])


class Attributes(ctypes.Structure):
    """struct sched_attr of <linux/sched/types.h>."""

    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("size", "policy")),
        ("flags", ctypes.c_uint64),
        ("nice", ctypes.c_int32),
        ("priority", ctypes.c_uint32),
        *((name, ctypes.c_uint64) for name in ("runtime", "deadline", "period")),
    ]


SCHED_GETATTR = {"x86_64": 315, "aarch64": 275}
OTHER, FIFO, RR, BATCH, IDLE, DEADLINE = 0, 1, 2, 3, 5, 6


def scheduled(container):
    """Return what the host says of how the init is scheduled; the container says the same as far as it can."""
    inside, outside = container.both_sides("stat")
    assert [stat(inside, number) for number in (19, 40, 41)] == [stat(outside, number) for number in (19, 40, 41)]
    found = Attributes()
    call = ctypes.CDLL(None, use_errno=True).syscall
    number = SCHED_GETATTR[os.uname().machine]
    assert call(number, container.pid(), ctypes.byref(found), ctypes.sizeof(found), 0) == 0, ctypes.get_errno()
    assert found.policy == stat(inside, 41)
    return found


def allowed_cpus(text):
    (line,) = [line for line in text.splitlines() if line.startswith("Cpus_allowed_list")]
    return line.split()[1]


@newer
@pytest.mark.parametrize(
    "name, number",
    [
        pytest.param(name, number, marks=pytest.mark.proves(f"process.scheduler.policy={name}"))
        for name, number in (("SCHED_OTHER", OTHER), ("SCHED_BATCH", BATCH), ("SCHED_IDLE", IDLE))
    ],
)
def test_the_program_has_the_policy(container, bundle, name, number):
    bundle.process["scheduler"] = {"policy": name}

    assert scheduled(container).policy == number


@newer
@pytest.mark.proves("process.scheduler.nice")
@pytest.mark.parametrize("policy, number", [("SCHED_OTHER", OTHER), ("SCHED_BATCH", BATCH)])
def test_the_program_is_nice(container, bundle, policy, number):
    bundle.process["scheduler"] = {"policy": policy, "nice": 7}
    found = scheduled(container)

    assert (found.policy, found.nice) == (number, 7)


@newer
@pytest.mark.needs("real-time policies in a cgroup")
@pytest.mark.proves("process.scheduler.priority")
@pytest.mark.parametrize(
    "name, number",
    [
        pytest.param(name, number, marks=pytest.mark.proves(f"process.scheduler.policy={name}"))
        for name, number in (("SCHED_FIFO", FIFO), ("SCHED_RR", RR))
    ],
)
def test_a_real_time_policy_has_its_priority(container, bundle, name, number):
    bundle.process["scheduler"] = {"policy": name, "priority": 5}
    if os.path.exists("/sys/fs/cgroup/cpu/cpu.rt_runtime_us"):  # a cgroup has no real time but what it is given
        bundle.resources["cpu"] = {"realtimeRuntime": 10_000, "realtimePeriod": 1_000_000}
    found = scheduled(container)

    assert (found.policy, found.priority) == (number, 5)


TIMES = {"runtime": 1_000_000, "deadline": 20_000_000, "period": 30_000_000}


@newer
@pytest.mark.proves(
    "process.scheduler.policy=SCHED_DEADLINE",
    "process.scheduler.runtime",
    "process.scheduler.deadline",
    "process.scheduler.period",
)
def test_the_deadline_policy_has_its_times(container, bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", **TIMES}
    found = scheduled(container)

    assert found.policy == DEADLINE
    assert {name: getattr(found, name) for name in TIMES} == TIMES


@newer
@pytest.mark.parametrize(
    "flag, number",
    [
        pytest.param(flag, number, marks=pytest.mark.proves(f"process.scheduler.flags={flag}"))
        for flag, number in (
            ("SCHED_FLAG_RESET_ON_FORK", 1),
            ("SCHED_FLAG_RECLAIM", 2),
            ("SCHED_FLAG_DL_OVERRUN", 4),
        )
    ],
)
def test_the_policy_has_its_flags(container, bundle, flag, number):
    bundle.process["scheduler"] = {"policy": "SCHED_DEADLINE", **TIMES, "flags": [flag]}

    assert scheduled(container).flags == number


@newer
@pytest.mark.parametrize(
    "flag, nice",
    [
        pytest.param(flag, nice, marks=pytest.mark.proves(f"process.scheduler.flags={flag}"))
        for flag, nice in (("SCHED_FLAG_KEEP_POLICY", 7), ("SCHED_FLAG_KEEP_PARAMS", 0))
    ],
)
def test_a_flag_keeps_the_policy_or_its_numbers(container, bundle, flag, nice):
    bundle.process["scheduler"] = {"policy": "SCHED_BATCH", "nice": 7, "flags": [flag]}
    found = scheduled(container)

    assert (found.policy, found.nice) == (OTHER, nice)


@newer
def test_exec_has_the_scheduler_too(container, bundle):
    bundle.process["scheduler"] = {"policy": "SCHED_IDLE"}
    container.sleeping()

    assert stat(container.exec("cat", "/proc/self/stat"), 41) == 5


@newer
@pytest.mark.needs("cgroup cpuset")
@pytest.mark.parametrize("verb", ["run", "exec"])
def test_a_policy_that_the_cpus_of_the_container_forbid_is_told_in_runc_s_words(container, bundle, tmp_path, verb):
    scheduled = {**bundle.process, "args": ["true"], "scheduler": {"policy": "SCHED_DEADLINE", **TIMES}}
    bundle.linux["resources"] = {"cpu": {"cpus": "0"}}
    if verb == "exec":
        (tmp_path / "process.json").write_text(json.dumps(scheduled))
        message = container.sleeping().fails("exec", "--process", tmp_path / "process.json", container.id, status=255)
    else:
        bundle.process.update(scheduled)
        message = container.fails("run", "--bundle", bundle.path, container.id)

    assert message.endswith("process scheduler can't be used together with AllowedCPUs")


@newer
@pytest.mark.proves("process.ioPriority.priority")
@pytest.mark.parametrize(
    "wanted, shown",
    [
        pytest.param(wanted, shown, marks=pytest.mark.proves(f"process.ioPriority.class={wanted['class']}"))
        for wanted, shown in (
            ({"class": "IOPRIO_CLASS_IDLE"}, "idle"),
            ({"class": "IOPRIO_CLASS_BE", "priority": 6}, "best-effort: prio 6"),
            ({"class": "IOPRIO_CLASS_RT", "priority": 1}, "realtime: prio 1"),
        )
    ],
    ids=["idle", "best effort", "real time"],
)
def test_the_program_has_the_io_priority(container, bundle, wanted, shown):
    bundle.process["ioPriority"] = wanted
    container.sleeping()
    seen = container.exec("ionice", "-p", "1").strip()  # busybox's: "idle: prio 7"

    outside = subprocess.run(["ionice", "-p", str(container.pid())], capture_output=True, text=True, check=True)
    assert outside.stdout.strip() == shown
    assert seen == shown if "prio" in shown else seen.startswith(shown)


@pytest.fixture
def on_one_cpu():
    """Let this process, and so the runtime, run on one CPU only."""
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {max(before)})
    yield max(before)
    os.sched_setaffinity(0, before)


@newer
@pytest.mark.needs("two CPUs")
@pytest.mark.proves("process.execCPUAffinity: the init has the CPUs of the machine")
def test_the_callers_affinity_does_not_reach_the_program(container, on_one_cpu):
    inside, outside = map(allowed_cpus, container.both_sides("status"))

    assert inside == outside != str(on_one_cpu)
    assert len(os.sched_getaffinity(container.pid())) > 1


@newer
@pytest.mark.needs("two CPUs")
def test_the_callers_affinity_does_not_reach_what_is_executed(container, on_one_cpu):
    container.sleeping()

    assert allowed_cpus(container.exec("cat", "/proc/self/status")) != str(on_one_cpu)


@newer
@pytest.mark.needs("two CPUs")
@pytest.mark.proves("process.execCPUAffinity.initial", "process.execCPUAffinity.final")
@pytest.mark.parametrize(
    "wanted, cpus",
    [({"final": "1"}, "1"), ({"initial": "0"}, "0"), ({"initial": "0", "final": "0-1"}, "0-1")],
    ids=["final", "initial", "both"],
)
def test_exec_has_the_affinity_and_the_init_has_not(container, bundle, tmp_path, wanted, cpus):
    bundle.process["execCPUAffinity"] = wanted
    container.sleeping()
    command = container.command("exec", "--detach", "--pid-file", tmp_path / "pid", container.id, "sleep", "1000")
    subprocess.run(command, stdout=subprocess.DEVNULL, check=True)

    assert allowed_cpus(container.exec("cat", "/proc/self/status")) == cpus
    assert allowed_cpus(Path("/proc", (tmp_path / "pid").read_text(), "status").read_text()) == cpus
    assert allowed_cpus(container.proc("status")) == "0-1"


@newer
def test_an_affinity_without_any_cpu_of_the_machine_is_an_error(container, bundle):
    bundle.process["execCPUAffinity"] = {"final": "4000"}
    container.sleeping()

    assert "set CPU affinity: Invalid argument" in container.fails("exec", container.id, "true", status=255)
