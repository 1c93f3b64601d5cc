"""pyrun stats: what containers use, on v1 and on v2."""

import json
import os
import pty
import select
import signal
import subprocess
import time

import pytest

pytestmark = pytest.mark.only_pyrun("has no stats")

MB = 1 << 20


@pytest.fixture
def busy(container):
    """A container that takes a CPU, has 30 MB, and limits."""
    container.bundle.resources["memory"] = {"limit": 200 * MB}
    container.bundle.resources["pids"] = {"limit": 33}
    container.bundle.mount("/big", "tmpfs", "tmpfs")
    script = "dd if=/dev/zero of=/big/x bs=1M count=30 2>/dev/null; sleep 1000 & while :; do :; done"
    container.bundle.process["args"] = ["sh", "-c", script]
    container.run_detached()
    while container.call("exec", container.id, "sh", "-c", "[ -s /big/x ]").returncode:
        pass
    time.sleep(0.3)
    return container


def once(container, *ids):
    text = container.works("stats", "--no-stream", "--format", "json", *ids)
    return {one["id"]: one for one in map(json.loads, text.splitlines())}


def test_it_tells_what_a_container_uses(busy):
    found = once(busy, busy.id)[busy.id]

    assert found["cpuPercent"] > 5
    assert 30 * MB <= found["memory"]["usage"] < 60 * MB
    assert found["memory"]["limit"] == 200 * MB
    assert found["pids"] == {"current": 2, "limit": 33}
    assert set(found["io"]) == {"read", "write"}
    assert set(found["pressure"]) == {"cpu", "memory", "io"}


def test_a_container_that_sleeps_uses_no_cpu(container):
    container.sleeping()
    found = once(container, container.id)[container.id]

    assert found["cpuPercent"] < 5
    assert found["memory"]["limit"] is None
    assert found["pids"] == {"current": 1, "limit": None}


def test_the_table_has_a_line_for_each_that_runs(new_container):
    running = [new_container().sleeping() for _ in range(3)]
    new_container().run_detached().wait_until("stopped")
    lines = running[0].works("stats", "--no-stream").splitlines()

    assert lines[0].split()[:3] == ["ID", "CPU", "%"]
    assert "PRESSURE" in lines[0]
    assert sorted(line.split()[0] for line in lines[1:]) == sorted(one.id for one in running)


def test_without_containers_there_is_no_line(container):
    assert container.works("stats", "--no-stream", "-f", "json") == ""


def test_one_that_is_not_there_has_an_error_and_the_others_a_line(container):
    container.sleeping()
    result = container.call("stats", "--no-stream", "-f", "json", "nobody", container.id)

    assert (result.returncode, result.stderr) == (1, "error: container does not exist: nobody\n")
    assert json.loads(result.stdout)["id"] == container.id


@pytest.mark.parametrize("format", ["table", "json"])
def test_it_goes_on_until_it_is_interrupted_and_ends_cleanly(container, format):
    container.sleeping()
    command = container.command("stats", "--format", format)
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as stats:
        lines = [stats.stdout.readline() for _ in range(4)]
        stats.send_signal(signal.SIGINT)
        _, complaint = stats.communicate(timeout=10)

    assert sum(container.id in line for line in lines) >= 2
    assert (stats.returncode, complaint) == (0, "")


def test_it_ends_with_the_containers_that_were_named(container):
    container.bundle.process["args"] = ["sleep", "1.5"]
    container.run_detached()

    assert container.id in container.works("stats", container.id, timeout=15)


def test_it_ends_when_nobody_reads_on(container):
    container.sleeping()
    pyrun = " ".join(container.command("stats"))
    result = subprocess.run(f"{pyrun} | head -n 1", shell=True, capture_output=True, text=True, timeout=15)

    assert result.stdout.startswith("ID ")
    assert result.stderr == ""


def test_on_a_terminal_the_table_stays_in_its_place(container):
    container.sleeping()
    pid, terminal = pty.fork()
    if pid == 0:
        command = container.command("stats")
        os.execv(command[0], command)
    read = b""
    end = time.monotonic() + 15
    while read.count(b"\x1b[H") < 3:
        assert select.select([terminal], [], [], end - time.monotonic())[0], read
        read += os.read(terminal, 65536)
    os.write(terminal, b"\x03")
    status = os.waitpid(pid, 0)[1]
    os.close(terminal)

    assert container.id.encode() in read
    assert os.waitstatus_to_exitcode(status) == 0
