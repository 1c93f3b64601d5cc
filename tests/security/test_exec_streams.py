"""R32, R34: what `exec` waits for, how much it keeps in memory, and how it ends if the container does."""

import os
import pty
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import is_alive, wait_until
from hostile import HANG

pytestmark = pytest.mark.peers

NOBODY = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
LEAVES_A_CHILD = ("/bin/sh", "-c", "sleep 1000 & echo done")


@pytest.mark.falls("runc", "it waits for who holds the pipes that it copies from")
@pytest.mark.parametrize("terminal", [False, True])
def test_cve_2026_53495_exec_ends_though_a_child_holds_its_streams(bundle, machine, terminal):
    """GHSA-7jxh-36q5-gcqv: containerd waited for ever, once for each probe. A caller that kills us is not needed."""
    id_ = machine.start(bundle)
    for _ in range(5):
        master, slave = pty.openpty()
        streams = {"stdin": slave, "stdout": slave, "stderr": slave} if terminal else {**NOBODY, "stdout": slave}
        options = ["--tty"] if terminal else []
        command = subprocess.Popen(machine.command("exec", *options, id_, *LEAVES_A_CHILD), **streams)
        os.close(slave)
        status = command.wait(HANG)
        shown = os.read(master, 4096)
        os.close(master)

        assert (status, b"done" in shown) == (0, True)

    left = subprocess.run(["pgrep", "-f", f"{machine.root} exec"], capture_output=True, text=True).stdout
    assert left == ""


def test_exec_ends_with_the_init_and_its_output_is_whole(bundle, machine):
    id_ = machine.start(bundle)
    pid = machine.state(id_)["pid"]
    reader, writer = os.pipe()
    script = "seq 2000; exec sleep 1000"
    command = subprocess.Popen(machine.command("exec", id_, "/bin/sh", "-c", script), **{**NOBODY, "stdout": writer})
    os.close(writer)
    with open(reader) as output:
        lines = [output.readline() for _ in range(2000)]
        os.kill(pid, signal.SIGKILL)
        status = command.wait(HANG)

    assert lines[-1] == "2000\n"
    assert status in (137, 255)
    wait_until(lambda: not is_alive(pid))


def test_a_reader_that_stops_does_not_make_exec_grow(bundle, machine):
    """CVE-2022-23471, CVE-2022-31030, CVE-2025-64329: the output of an exec that nobody reads."""
    id_ = machine.start(bundle)
    master, slave = pty.openpty()
    words = ("exec", "--tty", id_, "/bin/sh", "-c", "while :; do echo 0123456789012345678901234567890123456789; done")
    command = subprocess.Popen(machine.command(*words), stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.read(master, 100)
    before = resident(command.pid)
    time.sleep(1)
    after = resident(command.pid)
    machine.pyrun("kill", id_, "KILL")
    os.close(master)
    command.wait(HANG)

    assert after - before < 2048  # KiB


def resident(pid):
    return int(Path(f"/proc/{pid}/status").read_text().partition("VmRSS:")[2].split()[0])


@pytest.mark.only_pyrun("the words are ours")
def test_a_flood_of_hooks_and_their_output_takes_bounded_memory(bundle, machine):
    """R34, R12: 50 hooks that write 4 MB each."""
    shell = "/bin/dd if=/dev/zero bs=1M count=4 2>/dev/null >&2"
    hook = {"path": "/bin/sh", "args": ["sh", "-c", shell]}
    bundle.config["hooks"] = {"createRuntime": [hook] * 50}
    bundle.save()
    command = ["/usr/bin/time", "-f", "%M", *machine.command("create", "--bundle", bundle.path, machine.new_id())]
    with open(bundle.path / "stderr", "w+") as stderr:
        status = subprocess.run(command, timeout=60, **{**NOBODY, "stderr": stderr}).returncode
        stderr.seek(0)
        kilobytes = int(stderr.read().split()[-1])

    assert status == 0
    assert kilobytes < 64 << 10
