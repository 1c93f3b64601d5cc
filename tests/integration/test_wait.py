"""wait, and the monitor: how a container ended, told to who waits for it and kept for who does not."""

import json
import os
import signal
import subprocess
import time

import pytest
from harness import TIMEOUT, cgroups_named, is_alive, wait_until

from foundation.linux.prctl import PR_SET_CHILD_SUBREAPER, prctl

pytestmark = [pytest.mark.needs("root", "/bin/busybox"), pytest.mark.only_pyrun("runc and crun have no wait")]

KERNEL_TELLS = tuple(int(part) for part in os.uname().release.split(".")[:2]) >= (6, 15)


@pytest.fixture
def subreaper():
    """Have orphans come to this process, as to containerd's shim."""
    prctl(PR_SET_CHILD_SUBREAPER, 1)
    yield
    prctl(PR_SET_CHILD_SUBREAPER, 0)


def monitored(container, script, *options):
    container.bundle.process["args"] = ["sh", "-c", script]
    return container.run_detached("--monitor", *options)


def monitor_of(container):
    return json.loads((container.root / container.id / "state.json").read_text())["monitor"][0]


def waiting(container, *ids):
    """Start `pyrun wait` and return it when Python has gone from it."""
    process = subprocess.Popen(
        container.command("wait", *(ids or [container.id])), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    wait_until(lambda: "memfd:pyrun" in os.readlink(f"/proc/{process.pid}/exe"), "it waits")
    return process


def resident(pid):
    with open(f"/proc/{pid}/smaps_rollup") as file:
        return sum(int(line.split()[1]) for line in file if line.startswith("Rss:"))


def test_wait_prints_and_returns_the_exit_status(container):
    monitored(container, "sleep 0.3; exit 7")
    result = container.call("wait", container.id)

    assert (result.returncode, result.stdout, result.stderr) == (7, "7\n", "")


def test_wait_knows_the_exit_status_of_one_that_ended_before(container):
    monitored(container, "exit 7").wait_until("stopped")
    result = container.call("wait", container.id)

    assert (result.returncode, result.stdout) == (7, "7\n")


def test_wait_blocks_until_the_container_ends(container):
    monitored(container, "exec sleep 1000")
    process = waiting(container)
    time.sleep(0.2)
    before = process.poll()
    container.works("kill", container.id, "KILL")

    assert before is None
    assert process.communicate(timeout=TIMEOUT) == ("137\n", "")
    assert process.returncode == 137


def test_wait_does_so_from_the_moment_that_a_container_is_created(container):
    container.bundle.process["args"] = ["sh", "-c", "exit 3"]
    container.create("--monitor")
    process = waiting(container)
    container.start()

    assert process.communicate(timeout=TIMEOUT) == ("3\n", "")


def test_several_ids_are_a_line_each_and_the_first_failure_is_the_status(new_container):
    containers = [
        monitored(new_container(), f"sleep {delay}; exit {code}") for delay, code in ((0.4, 0), (0, 5), (0, 6))
    ]
    result = containers[0].call("wait", *(one.id for one in containers))

    assert (result.returncode, result.stdout) == (5, "0\n5\n6\n")


def test_wait_asks_for_an_id_that_there_is(container):
    monitored(container, "exit 7")
    result = container.call("wait", container.id, "missing")

    assert (result.returncode, result.stdout) == (1, "")
    assert result.stderr == "error: container does not exist: missing\n"


def test_who_waits_while_another_deletes_learns_the_exit_status(container):
    monitored(container, "exec sleep 1000")
    processes = [waiting(container) for _ in range(3)]
    container.delete("--force")

    assert [one.communicate(timeout=TIMEOUT) for one in processes] == [("137\n", "")] * 3


def test_state_and_list_tell_how_a_container_ended_for_which_nobody_waited(container):
    before = time.time()
    state = monitored(container, "exit 7").wait_until("stopped").state()
    listed = json.loads(container.works("list", "--format", "json"))[0]
    table = container.works("list").splitlines()

    assert (state["exitCode"], state["oomKilled"]) == (7, False)
    assert time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(before)) <= state["finished"]
    assert {name: listed[name] for name in state} == {**state, "owner": "root"}
    assert table[0].split()[6:] == ["EXITCODE", "FINISHED", "OOMKILLED"]
    assert table[1].split()[6:] == ["7", state["finished"], "false"]


def test_a_running_container_has_no_exit_status_yet(container):
    state = monitored(container, "exec sleep 1000").state()

    assert not {"exitCode", "finished", "oomKilled"} & state.keys()


def test_a_container_without_enough_memory_is_told_so(container, bundle):
    bundle.resources["memory"] = {"limit": 16 << 20, "swap": 16 << 20}
    bundle.process["args"] = ["tail", "/dev/zero"]
    state = container.run_detached("--monitor").wait_until("stopped").state()

    assert (state["exitCode"], state["oomKilled"]) == (137, True)


def test_run_detach_has_a_monitor_unless_it_is_asked_for_the_pid(new_container):
    plain, supervised = new_container(), new_container()
    supervised.sleeping()
    plain.bundle.process["args"] = ["sh", "-c", "exit 7"]
    plain.works("run", "-d", "--bundle", plain.bundle.path, plain.id)

    assert plain.call("wait", plain.id).returncode == 7
    assert monitor_of(supervised) == 0


@pytest.mark.parametrize("verb", ["create", "run"])
def test_without_a_monitor_the_init_is_its_subreapers_child(container, subreaper, verb):
    if verb == "create":
        container.create()
    else:
        container.sleeping()
    container.works("kill", container.id, "KILL")

    assert os.waitpid(container.pid(), 0) == (container.pid(), 9)


def test_without_a_monitor_a_past_exit_status_is_not_known_and_wait_says_so(container):
    container.bundle.process["args"] = ["sh", "-c", "exit 7"]
    container.run_detached().wait_until("stopped")
    message = container.fails("wait", container.id)

    assert message == (
        f"error: the exit status of container {container.id} is not known: it was made without a monitor (--monitor)"
    )


def test_without_a_monitor_wait_blocks_as_well(container, subreaper):
    container.sleeping()
    process = waiting(container)
    container.works("kill", container.id, "KILL")
    os.waitpid(container.pid(), 0)
    output, error = process.communicate(timeout=TIMEOUT)

    assert (output, process.returncode) == (("137\n", 137) if KERNEL_TELLS else ("", 1))
    assert (container.id in error) != KERNEL_TELLS


def test_the_monitor_has_nothing_of_its_caller(container):
    monitored(container, "exec sleep 1000")
    pid = monitor_of(container)
    descriptors = [os.readlink(f"/proc/{pid}/fd/{fd}") for fd in os.listdir(f"/proc/{pid}/fd")]

    assert descriptors == [str(container.root / container.id / "exit")]
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/cwd") == "/"
    assert os.readlink(f"/proc/{pid}/ns/pid") == os.readlink("/proc/self/ns/pid")
    assert not set(cgroups_named(container.id)) & {f"/sys/fs/cgroup{line}" for line in open(f"/proc/{pid}/cgroup")}


def test_the_monitor_and_who_waits_are_small(container):
    monitored(container, "exec sleep 1000")
    process = waiting(container)
    sizes = [resident(monitor_of(container)), resident(process.pid)]
    container.works("kill", container.id, "KILL")
    process.communicate(timeout=TIMEOUT)

    assert max(sizes) < 64


@pytest.mark.parametrize("name", ["HUP", "INT", "QUIT", "PIPE", "USR1", "TSTP"])
def test_the_monitor_is_not_disturbed_by_signals(container, name):
    monitored(container, "sleep 0.3; exit 7")
    os.kill(monitor_of(container), getattr(signal, f"SIG{name}"))

    assert container.call("wait", container.id).stdout == "7\n"


def test_a_monitor_that_was_killed_is_told_by_wait(container):
    monitored(container, "exec sleep 1000")
    os.kill(monitor_of(container), signal.SIGKILL)
    wait_until(lambda: not is_alive(monitor_of(container)), "the monitor is gone")
    container.works("kill", container.id, "KILL")
    container.wait_until("stopped")

    assert container.fails("wait", container.id).endswith("is not known: its monitor was killed")
    assert "exitCode" not in container.state()


def test_delete_leaves_no_monitor(container):
    monitored(container, "exec sleep 1000")
    pid = monitor_of(container)
    container.delete("--force")

    assert not is_alive(pid)


@pytest.mark.parametrize(("verb", "options"), [("create", ["--monitor"]), ("run", ["--detach"])])
def test_what_cannot_be_created_fails_as_without_a_monitor(container, bundle, verb, options):
    bundle.process["args"] = ["missing"]
    message = container.fails(verb, "--bundle", bundle.path, *options, container.id)

    assert message == 'error: exec: "missing": executable file not found in $PATH'
    assert not container.exists()


@pytest.mark.parametrize(
    ("number", "interrupts"),
    [
        (signal.SIGTERM, signal.SIG_DFL),
        (signal.SIGTERM, signal.SIG_IGN),  # as in the background of a shell script
        (signal.SIGINT, signal.SIG_DFL),
    ],
)
def test_a_creation_that_is_interrupted_leaves_nothing(container, bundle, number, interrupts):
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/sleep", "args": ["sleep", "2"]}]}
    bundle.save()
    process = subprocess.Popen(
        container.command("run", "-d", "--bundle", bundle.path, container.id),
        stdin=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: signal.signal(signal.SIGINT, interrupts),
    )
    wait_until(lambda: cgroups_named(container.id), "it is being created")
    if number == signal.SIGINT:
        os.killpg(process.pid, number)  # as a terminal does
    else:
        process.send_signal(number)

    assert process.wait(TIMEOUT) != 0
    wait_until(lambda: not container.exists() and not cgroups_named(container.id), "nothing is left")


@pytest.mark.needs("/proc/sys/vm/memfd_noexec")
def test_where_no_memfd_may_be_executed_python_waits(container, bundle):
    bundle.process["args"] = ["sh", "-c", "sleep 0.2; exit 7"]
    bundle.save()
    run = " ".join(container.command("run", "-d", "--bundle", bundle.path, container.id))
    wait = " ".join(container.command("wait", container.id))
    script = f"echo 2 > /proc/sys/vm/memfd_noexec && {run} </dev/null >/dev/null && exec {wait}"
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert (result.returncode, result.stdout, result.stderr) == (7, "7\n", "")


@pytest.mark.timeout(600)
def test_hundreds_that_are_waited_for_take_little_memory(container, full):
    count = 300 if full else 15
    ids = [f"{container.id}-{number}" for number in range(count)]
    container.bundle.process["args"] = ["sleep", "1000"]
    container.bundle.save()
    processes = []
    try:
        for id_ in ids:
            container.works("run", "-d", "--bundle", container.bundle.path, id_)
            processes.append(waiting(container, id_))
        monitors = [json.loads((container.root / id_ / "state.json").read_text())["monitor"][0] for id_ in ids]
        total = sum(resident(pid) for pid in [*monitors, *(one.pid for one in processes)])
        print(f"{count} containers, {count} monitors, {count} waits: {total} kB")
    finally:
        for id_ in ids:
            container.call("delete", "--force", id_)
    told = [one.communicate(timeout=TIMEOUT)[0] for one in processes]

    assert total < 20_000 * count / 300
    assert told == ["137\n"] * count
