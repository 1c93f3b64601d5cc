"""Hooks: those in the container are the image's programs, and no hook can make the runtime wait for ever or grow."""

import os
import signal
import subprocess
import time
from pathlib import Path

import pytest
from harness import wait_until


def hook(bundle, kind, shell, **properties):
    path = "/bin/sh"
    bundle.config.setdefault("hooks", {}).setdefault(kind, []).append(
        {"path": path, "args": ["sh", "-c", shell], **properties}
    )


def test_a_start_container_hook_is_the_images_program_and_not_the_hosts(bundle, machine, victim):
    (bundle.rootfs / "hook").write_text("#!/bin/sh\necho of the image >/told\n")
    (bundle.rootfs / "hook").chmod(0o755)
    bundle.config["hooks"] = {"startContainer": [{"path": "/hook"}]}

    result = machine.run(bundle, "cat /told")

    assert result.stdout == "of the image\n", result.stderr
    assert not os.path.exists("/told")


def test_a_start_container_hook_has_no_more_capabilities_than_the_container(bundle, machine):
    bundle.capabilities("CAP_KILL")
    bundle.config["process"]["noNewPrivileges"] = True
    hook(bundle, "startContainer", "/bin/grep -E '^(Cap(Eff|Bnd)|NoNew)' /proc/self/status >/told")

    result = machine.run(bundle, "grep -E '^(Cap(Eff|Bnd)|NoNew)' /proc/self/status; cat /told")

    own, told = result.stdout.splitlines()[:3], result.stdout.splitlines()[3:]
    assert own == told, result.stderr
    assert own[0].endswith("0000000000000020")


def test_a_start_container_hook_is_not_root_where_the_container_is_not(bundle, machine):
    (bundle.rootfs / "told").write_text("")
    (bundle.rootfs / "told").chmod(0o666)
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    hook(bundle, "startContainer", "/bin/id -u >/told")

    result = machine.run(bundle, "cat /told")

    assert result.stdout == "1000\n", result.stderr


def test_a_start_container_hook_has_no_descriptor_of_the_host(bundle, machine):
    hook(bundle, "startContainer", "/bin/ls -l /proc/self/fd /proc/self/cwd >/told")

    result = machine.run(bundle, "cat /told")

    links = {line.partition(" -> ")[2] for line in result.stdout.splitlines() if " -> " in line}
    assert {link for link in links if not link.startswith(("/memfd:", "/proc/"))} <= {"/", "/told"}


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer"])
def test_a_hook_that_hangs_is_killed_after_its_timeout(bundle, machine, kind):
    hook(bundle, kind, "exec /bin/sleep 100", timeout=1)
    begin = time.monotonic()

    result = machine.run(bundle, "echo ran")

    assert time.monotonic() - begin < 5
    assert result.returncode == 1
    assert "still ran after 1 s and was killed" in result.stderr
    assert os.listdir(machine.root) == []


@pytest.mark.parametrize("kind", ["prestart", "createRuntime", "createContainer", "startContainer", "poststart"])
def test_a_hook_that_fails_leaves_nothing_behind(bundle, machine, kind):
    hook(bundle, kind, "exit 1")

    result = machine.run(bundle, "sleep 100")

    assert result.returncode == 1
    assert f"error running {kind} hook #0" in result.stderr
    assert os.listdir(machine.root) == []


@pytest.mark.parametrize("kind", ["createRuntime", "createContainer", "startContainer"])
def test_of_what_a_failing_hook_writes_only_the_end_is_quoted(bundle, machine, kind):
    hook(
        bundle, kind, "/bin/dd if=/dev/zero bs=1048576 count=1 2>/dev/null | /bin/cat -v >&2; echo the end >&2; exit 1"
    )

    result = machine.run(bundle, "true")

    assert result.returncode == 1
    assert "the end" in result.stderr
    assert len(result.stderr) < 20000


@pytest.mark.parametrize("kind", ["createRuntime", "startContainer"])
def test_a_daemon_that_a_hook_leaves_behind_does_not_hold_the_runtime(bundle, machine, kind):
    hook(bundle, kind, "/bin/sleep 5 &")
    begin = time.monotonic()

    result = machine.run(bundle, "echo ran")

    assert result.stdout == "ran\n", result.stderr
    assert time.monotonic() - begin < 4


def test_an_escape_sequence_in_the_output_of_a_hook_does_not_reach_the_terminal(bundle, machine):
    hook(bundle, "startContainer", "printf '\\033]0;pwned\\007' >&2; exit 1")

    result = machine.run(bundle, "true")

    assert "\033" not in result.stderr
    assert "pwned" in result.stderr


@pytest.fixture
def interrupted(bundle, machine):
    """Let a startContainer hook hang, and interrupt the command that waits for it; return how that ended, and when."""

    def interrupted(id_, *arguments, by=signal.SIGINT):
        hook(bundle, "startContainer", "echo >/running; sleep 1000")
        bundle.save()
        (bundle.rootfs / "running").unlink(missing_ok=True)
        if arguments[0] == "start":
            machine.pyrun("create", "--bundle", bundle.path, id_, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        output = open(f"{bundle.path}/output", "w")
        options = {"stdin": subprocess.DEVNULL, "stdout": output, "stderr": output, "start_new_session": True}
        command = subprocess.Popen(machine.command(*arguments, id_), **options)
        wait_until(lambda: (bundle.rootfs / "running").exists())
        begin = time.monotonic()
        (os.killpg if by == signal.SIGINT else os.kill)(command.pid, by)  # a terminal sends ^C to the whole group
        command.wait(timeout=30)
        assert "Traceback" not in Path(f"{bundle.path}/output").read_text()
        return command.returncode, time.monotonic() - begin

    return interrupted


@pytest.mark.parametrize("by", [signal.SIGINT, signal.SIGTERM], ids=["^C", "SIGTERM"])
def test_run_that_is_interrupted_in_a_hook_leaves_nothing_behind(bundle, machine, interrupted, by):
    id_ = machine.new_id()
    status, seconds = interrupted(id_, "run", "--detach", "--bundle", bundle.path, by=by)

    assert status != 0
    assert seconds < 5
    wait_until(lambda: not os.path.exists(f"{machine.root}/{id_}"))
    assert list(Path("/sys/fs/cgroup").rglob(id_)) == []


def test_start_that_is_interrupted_in_a_hook_ends_that(bundle, machine, interrupted):
    id_ = machine.new_id()
    status, seconds = interrupted(id_, "start")
    begin = time.monotonic()

    assert status != 0
    assert seconds < 5
    assert machine.pyrun("delete", "--force", id_).returncode == 0
    assert time.monotonic() - begin < 5
    assert list(Path("/sys/fs/cgroup").rglob(id_)) == []


def test_a_hook_that_fails_on_its_way_into_the_container_leaves_nothing_behind(bundle, machine):
    bundle.config["process"]["execCPUAffinity"] = {"final": "1000"}  # no machine has it; only what joins wants it
    hook(bundle, "startContainer", "true")
    begin = time.monotonic()
    result = machine.run(bundle, "true")

    assert result.returncode == 1
    assert "set CPU affinity" in result.stderr
    assert time.monotonic() - begin < 5
    assert os.listdir(machine.root) == []
