"""Races on a shared volume (CVE-2021-30465, CVE-2024-45310), a runtime killed anywhere, limits, floods."""

import ctypes
import os
import random
import resource
import signal
import subprocess
import threading
import time
from pathlib import Path

import pytest
from harness import ANOTHER_GETS_THE_PID, build_with, wait_until
from hostile import HANG, Machine

RENAME_EXCHANGE = 2


@pytest.fixture
def swap():
    """Exchange two names as fast as possible, as a peer with the same volume would."""
    stopped = threading.Event()
    threads = []
    renameat2 = ctypes.CDLL(None).renameat2

    def swap(one, other):
        def loop():
            while not stopped.is_set():
                for _ in range(50):
                    renameat2(-100, os.fsencode(one), -100, os.fsencode(other), RENAME_EXCHANGE)
                time.sleep(0.0005)

        threads.append(threading.Thread(target=loop))
        threads[-1].start()

    yield swap
    stopped.set()
    for thread in threads:
        thread.join()


@pytest.mark.needs("/proc/sys/kernel/ns_last_pid")
def test_exec_enters_no_process_that_has_got_the_pid_of_an_init_meanwhile(bundle, machine, tmp_path):
    id_ = machine.start(bundle)
    slow = Machine(machine.root, build_with(tmp_path, {"pyrun/launch/exec.py": ANOTHER_GETS_THE_PID}))

    result = slow.exec(id_, "readlink", "/proc/self/exe", timeout=30)

    assert (result.returncode, result.stdout) == (255, "")
    assert result.stderr.strip().endswith("cannot exec in a stopped container")


@pytest.mark.usefixtures("host_mounts")
@pytest.mark.parametrize("target", ["{victim}", "../../../../../../../..{victim}", "/proc/self"])
def test_swapping_a_directory_for_a_symlink_leads_no_mount_outside(bundle, machine, victim, swap, full, target):
    volume = bundle.path / "volume"
    (volume / "a").mkdir(parents=True)
    (volume / "b").symlink_to(target.format(victim=victim.path))
    given = bundle.path / "given"
    given.write_text("")
    bundle.config["mounts"] += [
        {"destination": "/volume", "source": str(volume), "options": ["rbind"]},
        {"destination": "/volume/a/directory", "type": "tmpfs", "source": "tmpfs"},
        {"destination": "/volume/a/console", "source": str(given), "options": ["bind"]},
        {"destination": "/volume/a/new/file", "source": str(given), "options": ["bind"]},
    ]
    bundle.config["linux"]["maskedPaths"] = ["/volume/a/secret"]
    bundle.config["linux"]["devices"] = [{"path": "/volume/a/null", "type": "c", "major": 1, "minor": 3}]
    bundle.config["process"]["cwd"] = "/volume/a/made"
    swap(volume / "a", volume / "b")

    for _ in range(300 if full else 12):
        machine.run(bundle, "true")

    assert victim.is_untouched()


@pytest.mark.parametrize("target", ["/proc/self/fd/3", "/proc/self/fd/5", "/proc/self/fd/7", "/"])
def test_swapping_the_directory_of_exec_leads_no_process_outside(bundle, machine, victim, swap, full, target):
    (bundle.rootfs / "a").mkdir()
    (bundle.rootfs / "b").symlink_to(target)
    bundle.without_namespace("pid")
    id_ = machine.start(bundle)
    swap(bundle.rootfs / "a", bundle.rootfs / "b")

    for _ in range(200 if full else 8):
        result = machine.exec(id_, "readlink", "/proc/self/cwd", options=("--cwd", "/a"))
        assert result.stdout.strip() in ("", "/", "/a", "/b")


def test_a_runtime_that_is_killed_at_any_moment_leaves_nothing_that_delete_does_not_find(bundle, machine, full):
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    choose = random.Random(31)
    for _ in range(200 if full else 40):
        id_ = machine.new_id()
        command = machine.command("create", "--bundle", bundle.path, id_)
        runtime = subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        time.sleep(choose.uniform(0.004, 0.030))
        runtime.kill()
        runtime.wait()
        deleted = machine.pyrun("delete", "--force", id_)

        assert deleted.returncode == 0, deleted.stderr
        assert not os.path.exists(f"{machine.root}/{id_}")
        assert wait_until(lambda id_=id_: not cgroups(id_))
    assert wait_until(lambda: not processes_below(str(bundle.rootfs)))


@pytest.mark.parametrize("call", ["mkdir", "rename", "clone3", "sendmsg", "recvmsg", "bind", "listen", "waitid"])
def test_a_runtime_that_is_killed_at_a_system_call_leaves_nothing_that_delete_does_not_find(bundle, machine, call):
    if not os.path.exists("/usr/bin/strace"):
        pytest.skip("strace is not installed")
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    id_ = machine.new_id()
    strace = ["strace", "-o", "/dev/null", "-e", f"trace={call}", "-e", f"inject={call}:signal=KILL:when=1"]
    command = [*strace, *machine.command("create", "--bundle", bundle.path, id_)]

    subprocess.run(
        command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, timeout=HANG
    )
    deleted = machine.pyrun("delete", "--force", id_)

    assert deleted.returncode == 0, deleted.stderr
    assert not os.path.exists(f"{machine.root}/{id_}")
    assert wait_until(lambda: not cgroups(id_))


def cgroups(id_):
    return [str(path) for path in Path("/sys/fs/cgroup").glob(f"*/{id_}")]


def processes_below(root):
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{pid}/root").startswith(root):
                found.append(pid)
        except OSError:
            pass  # it has ended
    return found


@pytest.mark.parametrize(
    ("type_", "value"),
    [("RLIMIT_NOFILE", 3), ("RLIMIT_NOFILE", 4), ("RLIMIT_NOFILE", 16), ("RLIMIT_FSIZE", 0), ("RLIMIT_CORE", 0)]
    + [("RLIMIT_NPROC", 1), ("RLIMIT_AS", 64 << 20), ("RLIMIT_MEMLOCK", 0)],
)
def test_a_small_limit_is_the_containers_and_not_the_runtimes(bundle, machine, type_, value):
    bundle.config["process"]["rlimits"] = [{"type": type_, "soft": value, "hard": value}]
    bundle.config["process"]["args"] = ["/bin/true"]
    bundle.save()

    result = machine.pyrun("run", "--bundle", bundle.path, machine.new_id())

    assert (result.returncode, result.stderr) == (0, "")


@pytest.mark.parametrize("resources", [{"memory": {"limit": 6 << 20}}, {"memory": {"limit": 1 << 16}}])
def test_a_container_with_little_memory_starts_or_says_why(bundle, machine, resources):
    bundle.config["linux"]["resources"].update(resources)

    result = machine.run(bundle, "exit 7")

    assert result.returncode in (7, 137) or "error" in result.stderr


@pytest.mark.parametrize("limit", [1, 2, 3])
def test_exec_under_a_limit_of_processes_ends(bundle, machine, limit):
    bundle.config["linux"]["resources"]["pids"] = {"limit": limit}
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    id_ = machine.start(bundle)

    result = machine.exec(id_, "true")

    assert result.returncode in (0, 255), result.stderr


def test_a_runtime_with_few_descriptors_says_so(bundle, machine):
    bundle.config["process"]["args"] = ["/bin/true"]
    bundle.save()
    for limit in range(4, 24, 2):
        result = machine.pyrun(
            "run",
            "--bundle",
            bundle.path,
            machine.new_id(),
            preexec_fn=lambda limit=limit: resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit)),
        )
        assert result.returncode in (0, 1)
        assert os.listdir(machine.root) == [] if os.path.isdir(machine.root) else True


def test_many_execs_at_once_all_end_well(bundle, machine, full):
    id_ = machine.start(bundle)
    command = machine.command("exec", id_, "true")
    running = [
        subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        for _ in range(200 if full else 40)
    ]

    statuses = [process.wait(60) for process in running]

    assert set(statuses) == {0}


@pytest.mark.parametrize("stream", ["/dev/full", "a reader that has gone"])
def test_output_that_nobody_takes_ends_the_container_and_not_with_a_traceback(bundle, machine, stream):
    shell = "i=0; while [ $i -lt 2000 ]; do echo output || exit 3; i=$((i+1)); done"
    if stream == "/dev/full":
        with open("/dev/full", "w") as full_device:
            result = machine.run(bundle, shell, stdout=full_device)
    else:
        reader, writer = os.pipe()
        os.close(reader)
        result = machine.run(bundle, shell, stdout=writer)
        os.close(writer)

    assert result.returncode in (1, 3, 128 + signal.SIGPIPE)


def test_the_programs_in_the_container_are_never_run_by_the_runtime(bundle, machine):
    for name in ("ps", "ldconfig", "newuidmap", "newgidmap", "criu", "iptables"):
        program = bundle.rootfs / "bin" / name
        program.unlink(missing_ok=True)
        program.write_text("#!/bin/sh\n/bin/touch /ran\n")
        program.chmod(0o755)
    id_ = machine.start(bundle)

    for words in (["ps", id_], ["exec", id_, "true"], ["pause", id_], ["resume", id_], ["state", id_]):
        machine.pyrun(*words)

    assert not (bundle.rootfs / "ran").exists()
