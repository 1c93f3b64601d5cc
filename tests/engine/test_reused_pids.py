"""A container joins the namespaces of another one by its pid, which may be another process's by then."""

import os
import signal
from pathlib import Path

import daemon
import pytest
from daemon import changed_program, wait_until

# Before a container is created, the init whose pid is in the file {file} ends, and a program of the host gets its pid.
CHANGE = """
import os, subprocess, time
from pyrund.launch import start

create = start.create

def take(pid):
    os.kill(pid, 9)
    while os.path.exists(f"/proc/{{pid}}"):
        time.sleep(0.001)
    until = time.monotonic() + 15
    while time.monotonic() < until:  # others take pids, too
        with open("/proc/sys/kernel/ns_last_pid", "w") as last:
            last.write(str(pid - 1))
        sleeper = subprocess.Popen(["sleep", "1000"], stdin=-3, stdout=-3, stderr=-3)
        if sleeper.pid == pid:
            return
        sleeper.kill()
        sleeper.wait()

def create_late(request, undo):
    if os.path.exists("{file}"):
        with open("{file}") as file:
            take(int(file.read()))
    return create(request, undo)

start.create = create_late
"""


@pytest.mark.needs("/proc/sys/kernel/ns_last_pid")
@pytest.mark.parametrize("option", ["--pid", "--ipc", "--network"])
def test_a_container_does_not_enter_the_namespace_of_a_program_of_the_host(hub, tmp_path, monkeypatch, option):
    file = tmp_path / "pid"
    monkeypatch.setattr(daemon, "PYRUND", changed_program(tmp_path, CHANGE.format(file=file)))
    engine = daemon.Daemon(hub, tmp_path / "engine", "--bridge", "none")
    pid = None
    try:
        engine.ok("pull", "busybox")
        engine.ok("run", "-d", "--name", "web", "--ipc=shareable", "--network=none", "busybox", "sleep", "1000")
        pid = int(engine.inspect("web", ".State.Pid"))
        file.write_text(str(pid))
        words = ("run", "--name", "other", option, "container:web", "busybox", "echo", "inside")
        done = engine.docker(*words)

        assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\0" + b"1000\0"
        assert os.stat(f"/proc/{pid}/ns/mnt").st_ino == os.stat(f"/proc/{engine.process.pid}/ns/mnt").st_ino
        assert (done.returncode, done.stdout) == (125, ""), done.stderr
        assert "of a non running container" in done.stderr or "is not running" in done.stderr
        file.unlink()
        engine.remove_all()
        wait_until(lambda: engine.left_over() == {}, "the removal of all")
    finally:
        if pid and os.path.exists(f"/proc/{pid}"):
            os.kill(pid, signal.SIGKILL)
        engine.stop()
