"""The stub: one table, carried out by the ELF of two machines and by Python, and the init that waits at the gate."""

import errno
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import REPOSITORY, TIMEOUT, call, without_executable_memfds

from foundation.linux import syscalls
from pyrun.stub import elf, reaper
from pyrun.stub.execve import Program
from pyrun.stub.interpreter import carry_out
from pyrun.stub.report import read_report
from pyrun.stub.table import Table

pytestmark = pytest.mark.only_pyrun("about its stub")

SOURCES = REPOSITORY / "runtime/pyrun/stub"
TOOLS = {"x86_64": "", "aarch64": "aarch64-linux-gnu-"}
# The tables of the tests are made for both machines on this one.
CALLS = {
    machine: {name: numbers[column] for name, numbers in syscalls._NUMBERS.items()}
    for column, machine in enumerate(("x86_64", "aarch64"))
}


@pytest.mark.parametrize("machine", TOOLS)
@pytest.mark.needs("as", "aarch64-linux-gnu-as")
def test_the_source_assembles_to_the_bytes_in_the_module(tmp_path, machine):
    prefix = TOOLS[machine]
    subprocess.run([f"{prefix}as", "-o", tmp_path / "o", SOURCES / f"stub_{machine}.S"], check=True)
    subprocess.run([f"{prefix}objcopy", "-O", "binary", "-j", ".text", tmp_path / "o", tmp_path / "b"], check=True)

    assert (tmp_path / "b").read_bytes() == elf.CODE[machine]


def program(tmp_path, monkeypatch, machine, table):
    """Return the path of the ELF that carries out `table` on `machine`."""
    monkeypatch.setattr("pyrun.stub.table.number", CALLS[machine].__getitem__)
    head, data = elf.assemble(table, machine)
    path = tmp_path / machine
    with open(path, "wb") as file:
        file.write(head)
        file.seek(elf.TABLE_ADDRESS - elf.CODE_ADDRESS)
        file.write(data)
    path.chmod(0o755)
    return [path] if machine == "x86_64" else ["qemu-aarch64-static", path]


@pytest.mark.parametrize("machine", TOOLS)
@pytest.mark.needs("qemu-aarch64-static")
def test_rows_follow_each_other_and_jump_on_a_positive_result(tmp_path, monkeypatch, machine):
    table = Table(report=2)
    table.call("write", 1, table.string(b"one"), 3).jump_to = 2
    table.call("write", 1, table.string(b"skipped"), 7)
    table.call("write", 1, table.string(b"two"), 3)
    table.call("exit_group", 5)
    result = subprocess.run(program(tmp_path, monkeypatch, machine, table), capture_output=True, timeout=TIMEOUT)

    assert (result.returncode, result.stdout, result.stderr) == (5, b"onetwo", b"")


@pytest.mark.parametrize("machine", TOOLS)
@pytest.mark.needs("qemu-aarch64-static")
def test_an_excused_error_is_passed_over_and_another_reported(tmp_path, monkeypatch, machine):
    table = Table(report=2)
    table.call("close", 99, excused=(9,))
    table.call("close", 99, label="close the door")
    table.call("exit_group", 5)
    result = subprocess.run(program(tmp_path, monkeypatch, machine, table), capture_output=True, timeout=TIMEOUT)
    report = read_report(result.stderr)

    assert result.returncode == 1
    assert (report.errno, report.filename) == (9, "close the door")


@pytest.mark.parametrize("machine", TOOLS)
@pytest.mark.needs("qemu-aarch64-static")
def test_an_errno_from_64_on_is_never_excused(tmp_path, monkeypatch, machine):
    table = Table(report=2)
    table.call("recvfrom", 1, 0, 0, 0, excused=(errno.ENOTSOCK % 64,))
    result = subprocess.run(program(tmp_path, monkeypatch, machine, table), capture_output=True, timeout=TIMEOUT)

    assert read_report(result.stderr).errno == errno.ENOTSOCK


def info(status=0, mask=8):
    """Return a struct pidfd_info."""
    return mask.to_bytes(60, "little") + status.to_bytes(4, "little")


# What wait(2) says, and what a shell shows.
STATUSES = [(0, 0), (7 << 8, 7), (255 << 8, 255), (9, 137), (11 | 0x80, 139), (64, 192)]


def told(table):
    for status, _ in STATUSES:
        table.call("tell", table.block(info(status)), 0, 0)
    table.call("tell", table.block(info(7 << 8, mask=4)), table.string(b"what?\n"), 6)
    table.call("end")
    return table


@pytest.mark.parametrize("machine", TOOLS)
@pytest.mark.needs("qemu-aarch64-static")
def test_statuses_are_told_as_a_shell_shows_them(tmp_path, monkeypatch, machine):
    command = program(tmp_path, monkeypatch, machine, told(Table(report=2)))
    result = subprocess.run(command, capture_output=True, timeout=TIMEOUT)

    assert result.stdout == b"".join(b"%d\n" % shown for _, shown in STATUSES)
    assert (result.returncode, result.stderr) == (7, b"what?\n")


@pytest.mark.parametrize("machine", TOOLS)
@pytest.mark.needs("qemu-aarch64-static")
def test_what_is_not_known_counts_as_a_failure(tmp_path, monkeypatch, machine):
    table = Table(report=2)
    table.call("tell", table.block(info(0)), 0, 0)
    table.call("tell", table.block(info(7 << 8, mask=0)), 0, 0)
    table.call("end")
    result = subprocess.run(program(tmp_path, monkeypatch, machine, table), capture_output=True, timeout=TIMEOUT)

    assert (result.returncode, result.stdout) == (1, b"0\n")


@pytest.mark.parametrize("machine", TOOLS)
@pytest.mark.parametrize(
    ("script", "status"),
    [("(sleep 0.1 &); sleep 0.2; exit 7", 7), ("kill -9 $$", 137), ("kill -TERM $PPID; exec sleep 9", 143)],
)
@pytest.mark.needs("qemu-aarch64-static")
def test_an_init_collects_passes_on_and_exits_as_its_child(tmp_path, monkeypatch, machine, script, status):
    monkeypatch.setattr("pyrun.stub.table.number", CALLS[machine].__getitem__)
    shell = Program([b"/bin/sh"], [b"sh", b"-c", script.encode()], [b"PATH=/bin"])
    shell.reaper = 9
    table = reaper.rows(2, shell, terminal=False)
    table.rows[0].excused = (errno.EBADF,)  # there is no memfd here
    result = subprocess.run(program(tmp_path, monkeypatch, machine, table), capture_output=True, timeout=TIMEOUT)

    assert (result.returncode, result.stdout, result.stderr) == (status, b"", b"")


def test_python_tells_the_same_as_the_elf(capfdbinary):
    child = os.fork()
    if child == 0:
        carry_out(told(Table(report=2)))
    status = os.waitpid(child, 0)[1]
    written = capfdbinary.readouterr()

    assert written.out == b"".join(b"%d\n" % shown for _, shown in STATUSES)
    assert (os.waitstatus_to_exitcode(status), written.err) == (7, b"what?\n")


def test_python_does_the_same_as_the_elf():
    script = """
from pyrun.stub.table import Table
from pyrun.stub.interpreter import carry_out
table = Table(report=2)
table.call("write", 1, table.string(b"one"), 3).jump_to = 2
table.call("write", 1, table.string(b"skipped"), 7)
table.call("close", 99, excused=(9,))
table.call("close", 99, label="close the door")
carry_out(table)
"""
    command = ["/usr/bin/python3", "-IS", "-c", f"import sys; sys.path[:0] = [{str(REPOSITORY / 'runtime')!r}]{script}"]
    result = subprocess.run(command, capture_output=True, timeout=TIMEOUT)
    report = read_report(result.stderr)

    assert (result.returncode, result.stdout) == (1, b"one")
    assert (report.errno, report.filename) == (9, "close the door")


@pytest.mark.needs("root", "/bin/busybox", "/proc/sys/vm/memfd_noexec")
@pytest.mark.parametrize("forbidden", [True, False])
def test_python_carries_it_out_where_no_memfd_may_be_executed(container, bundle, forbidden):
    bundle.process["args"] = ["sh", "-c", "echo ran; exec cat /proc/1/comm"]
    bundle.save()
    run = " ".join(container.command("run", "--bundle", bundle.path, container.id))
    sysctl = "echo 2 > /proc/sys/vm/memfd_noexec && " if forbidden else ""
    script = f"{sysctl}strace -f -qq -e trace=execve,execveat -o {bundle.path}/trace {run}"
    command = ["unshare", "--pid", "--fork", "--mount-proc", "sh", "-c", script]
    result = subprocess.run(command, capture_output=True, text=True, timeout=TIMEOUT)

    assert (result.stdout, result.stderr) == ("ran\ncat\n", "")
    assert ('"pyrun", "init"' not in (bundle.path / "trace").read_text()) == forbidden


@pytest.mark.needs("root", "/bin/busybox", "/proc/sys/vm/memfd_noexec")
def test_relative_paths_lead_to_the_same_where_no_memfd_may_be_executed(container, bundle, tmp_path):
    bundle.process["args"] = ["echo", "ran"]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path.name, "--pid-file", "pid-of-it", container.id)
    result = call(without_executable_memfds(*command), cwd=tmp_path)

    assert (result.stdout, result.stderr) == ("ran\n", "")
    assert (tmp_path / "pid-of-it").exists()


@pytest.mark.needs("root", "/bin/busybox")
def test_a_waiting_init_is_small(container):
    container.create()
    rss = next(line for line in container.proc("smaps_rollup").splitlines() if line.startswith("Rss:"))

    assert int(rss.split()[1]) < 64


@pytest.mark.needs("root", "/bin/busybox")
def test_a_waiting_init_is_no_interpreter(container):
    container.create()

    assert "python" not in str(Path(f"/proc/{container.pid()}/exe").readlink())
    assert shutil.which("python3") not in container.proc("maps")
