"""--init: an init of our own as pid 1, with the program as its child."""

import json
import os
import subprocess
from pathlib import Path

import pytest
from harness import REPOSITORY, TIMEOUT, wait_until, without_executable_memfds
from test_terminal import Screen

pytestmark = [pytest.mark.needs("root", "/bin/busybox"), pytest.mark.only_pyrun("runc and crun have no init")]

# Leaves behind a process whose parent has ended, waits until that has ended too, and shows all that there is.
ORPHAN = "sh -c 'sleep 0.1 & exit'; sleep 0.3; ps -o pid,ppid,stat,comm"


def run(container, script, *options):
    container.bundle.process["args"] = ["sh", "-c", script]
    return container.call("run", "--init", "--bundle", container.bundle.path, *options, container.id)


def created(container, *command):
    container.bundle.process["args"] = list(command)
    return container.create("--init")


def filtered(bundle, name, action="SCMP_ACT_ERRNO"):
    """Have a system call filter that forbids the call `name`."""
    bundle.linux["seccomp"] = {"defaultAction": "SCMP_ACT_ALLOW", "syscalls": [{"names": [name], "action": action}]}


def test_the_program_is_a_child_of_pid_1(container):
    result = run(container, "echo $$ $PPID; cat /proc/1/cmdline | tr '\\0' ' '")

    assert (result.stdout, result.stderr) == ("2 1\npyrun init ", "")


def test_without_the_option_the_program_is_pid_1(container):
    assert container.sh("echo $$") == "1"


@pytest.mark.parametrize("code", [0, 7, 255])
def test_it_exits_as_the_program_does(container, code):
    assert run(container, f"exit {code}").returncode == code


@pytest.mark.parametrize(("name", "status"), [("TERM", 143), ("KILL", 137), ("SEGV", 139)])
def test_it_exits_with_128_and_the_signal_that_ended_the_program(container, name, status):
    assert run(container, f"kill -{name} $$").returncode == status


def test_orphans_are_collected(container):
    assert " Z " not in run(container, ORPHAN).stdout


def test_without_it_orphans_of_a_program_that_does_not_wait_remain(container):
    """The test above can fail."""
    script = "sh -c 'sleep 0.1 & exit'; exec sh -c 'read line </dev/zero & exec sleep 1000'"
    container.bundle.process["args"] = ["sh", "-c", script]
    container.run_detached()

    wait_until(lambda: " Z " in container.exec("ps", "-o", "pid,ppid,stat,comm"), "an orphan remains")


def test_orphans_are_collected_where_it_is_not_pid_1(container, bundle):
    bundle.without_namespace("pid")
    bundle.process["args"] = ["sh", "-c", "sh -c 'sleep 0.1 & echo $!; exit'; exec sleep 1000"]
    container.run_detached("--init")
    wait_until(container.output, "the orphan is made")
    orphan = Path("/proc", container.output().strip())

    wait_until(lambda: not orphan.exists(), "the orphan is collected")


@pytest.mark.parametrize("name", ["TERM", "HUP", "USR1", "RTMIN"])
def test_signals_are_passed_on(container, name):
    number = {"RTMIN": "35"}.get(name, name)
    script = f"trap 'echo {name}; exit' {number}; echo ready; while :; do sleep 0.02; done"
    created(container, "sh", "-c", script).start()
    wait_until(lambda: "ready" in container.output(), "the trap is set")
    container.works("kill", container.id, number)
    container.wait_until("stopped")

    assert container.output() == f"ready\n{name}\n"


def test_a_program_that_does_not_care_for_a_signal_is_ended_by_it(container):
    """As pid 1 itself it would be spared, pid_namespaces(7)."""
    created(container, "sleep", "1000").start()
    container.works("kill", container.id, "TERM")

    container.wait_until("stopped")


def test_it_passes_on_what_comes_while_it_waits_to_be_started(container):
    created(container, "sh", "-c", "sleep 1000; echo not")
    container.start()
    container.works("kill", container.id, "TERM")
    container.wait_until("stopped")

    assert container.output() == ""


def test_it_has_no_descriptors_and_the_program_only_its_own(container):
    created(container, "sleep", "1000").start()
    child = int(Path(f"/proc/{container.pid()}/task/{container.pid()}/children").read_text())
    wait_until(lambda: Path(f"/proc/{child}/comm").read_text() == "sleep\n", "the program runs")

    assert os.listdir(f"/proc/{container.pid()}/fd") == []
    assert sorted(os.listdir(f"/proc/{child}/fd")) == ["0", "1", "2"]


def test_it_is_no_interpreter_and_small(container):
    created(container, "sleep", "1000").start()
    with open(f"/proc/{container.pid()}/smaps_rollup") as file:
        resident = next(int(line.split()[1]) for line in file if line.startswith("Rss:"))

    assert os.readlink(f"/proc/{container.pid()}/exe") == "/memfd:pyrun (deleted)"
    assert resident < 64


def test_the_container_cannot_read_it(container):
    result = run(container, "cat /proc/1/exe >/dev/null")

    assert "Permission denied" in result.stderr


def test_it_has_no_more_privileges_than_the_program(container, bundle):
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    script = "for pid in 1 self; do grep -E '^(Uid|Gid|Groups|Cap|NoNewPrivs|Seccomp:)' /proc/$pid/status; done"
    filtered(bundle, "acct")
    lines = run(container, script).stdout.splitlines()

    assert lines[: len(lines) // 2] == lines[len(lines) // 2 :]
    assert "Seccomp:\t2" in lines


def test_it_runs_under_dockers_filter_in_a_user_namespace(container, bundle):
    bundle.user_namespace()
    bundle.linux["seccomp"] = json.loads((REPOSITORY / "spec-fixtures/seccomp/docker-default.json").read_text())
    result = run(container, f"{ORPHAN}; exit 7")

    assert (result.returncode, result.stderr) == (7, "")
    assert " Z " not in result.stdout


@pytest.mark.parametrize(
    ("call", "what"),
    [("rt_sigtimedwait", "wait for signals"), ("kill", "pass on signals"), ("wait4", "collect orphans")],
)
def test_a_filter_that_forbids_what_it_needs_is_told_at_start(container, bundle, call, what):
    filtered(bundle, call)
    created(container, "true")

    assert container.fails("start", container.id) == f"error: init: {what}: Operation not permitted"


def test_a_missing_program_is_told_by_create(container):
    container.bundle.process["args"] = ["missing"]
    message = container.fails("create", "--init", "--bundle", container.bundle.path, container.id)

    assert message == 'error: exec: "missing": executable file not found in $PATH'


def test_a_program_that_has_gone_is_told_by_start(container, bundle):
    (bundle.rootfs / "bin/program").symlink_to("busybox")
    created(container, "/bin/program")
    (bundle.rootfs / "bin/program").unlink()

    message = container.fails("start", container.id)
    assert message.startswith("error: exec /bin/program: no such file or directory")
    container.wait_until("stopped")


@pytest.mark.needs("/proc/sys/vm/memfd_noexec")
def test_where_no_memfd_may_be_executed_it_is_refused(container, bundle):
    bundle.save()
    command = without_executable_memfds(*container.command("run", "--init", "--bundle", bundle.path, container.id))
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert result.returncode == 1
    assert result.stderr == (
        "error: --init: pyrun has no reaper for this machine type, or the sysctl vm.memfd_noexec is 2\n"
    )
    assert not container.exists()


def test_on_a_terminal_an_interrupt_comes_once(container, bundle):
    bundle.process["terminal"] = True
    script = "trap 'n=$((n+1))' INT; echo ready; while [ -z $n ]; do sleep 0.05; done; sleep 0.2; echo got $n; exit 7"
    bundle.process["args"] = ["sh", "-c", script]
    bundle.save()
    with Screen(container.command("run", "--init", "--bundle", bundle.path, container.id)) as screen:
        screen.wait_for(b"ready")
        screen.type(b"\x03")
        status, shown = screen.end()

    assert (status, b"got 1" in shown) == (7, True)
