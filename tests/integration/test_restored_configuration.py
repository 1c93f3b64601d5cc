"""What config.json asks for holds after restore: mounts, masks, limits, device rules, namespaces, hooks, privileges."""

import contextlib
import json
import os
import subprocess
from pathlib import Path

import criu
import pytest
from harness import wait_until

pytestmark = [pytest.mark.needs("root", "/bin/busybox", "criu"), pytest.mark.only_pyrun("is not told where criu is")]

READ_ONLY = "touch: {}: Read-only file system\n"


@pytest.fixture(autouse=True)
def criu_in_path(monkeypatch):
    monkeypatch.setenv("PATH", f"{criu.directory()}:{os.environ['PATH']}")


@pytest.fixture
def come_back(container, tmp_path):
    """Have a container that sleeps, checkpoint and restore it; with an argument, as that one."""

    def come_back(twin=container, *options):
        if twin is not container:
            twin.bundle.config = container.bundle.config
        container.bundle.process["args"] = ["sleep", "1000"]
        container._detached("run", "--detach")  # its monitor collects it: a restored process needs the pid that it had
        image = ("--image-path", tmp_path / "image", "--work-path", tmp_path / "work")
        container.works("checkpoint", *image, container.id)
        twin._detached("restore", "--detach", "--pid-file", twin.pid_file, *image, *options)
        return twin

    return come_back


def refused(container, *command):
    """Return what `command` says in the container, where it must fail."""
    result = container.call("exec", container.id, *command)
    assert result.returncode != 0
    return result.stderr


def mounts(container):
    return [line.split(" ") for line in container.proc("mountinfo").splitlines()]


def test_bind_mounts_are_the_host_s_again(come_back, bundle, tmp_path):
    for name in ("read", "write", "tree"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    (tmp_path / "one").write_text("one")
    (bundle.rootfs / "var").mkdir()
    (bundle.rootfs / "var/run").symlink_to("../run")
    bundle.mount("/read", "bind", tmp_path / "read", "ro", "nosuid", "nodev")
    bundle.mount("/write", "bind", tmp_path / "write", "rw")
    bundle.mount("/write/inner/one", "bind", tmp_path / "one", "ro")
    bundle.mount("/var/run/secret", "bind", tmp_path / "read", "ro")
    (tmp_path / "tree/below").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "below", tmp_path / "tree/below"], check=True)
    try:
        (tmp_path / "tree/below/file").write_text("below")
        bundle.mount("/tree", "bind", tmp_path / "tree", "rbind")
        container = come_back()

        assert container.exec("cat", "/read/file", "/write/inner/one", "/run/secret/file") == "readoneread"
        assert container.exec("cat", "/tree/file", "/tree/below/file") == "treebelow"
        assert refused(container, "touch", "/read/x") == READ_ONLY.format("/read/x")
        assert refused(container, "touch", "/run/secret/x") == READ_ONLY.format("/run/secret/x")
        container.exec("sh", "-c", "echo written >/write/new")
        assert (tmp_path / "write/new").read_text() == "written\n"
        assert {line[5] for line in mounts(container) if line[4] == "/read"} == {"ro,nosuid,nodev,relatime"}
        container.delete("--force")
    finally:
        subprocess.run(["umount", "-l", tmp_path / "tree/below"], check=True)


def test_a_mount_cannot_take_the_place_of_another_one(bundle, container, tmp_path):
    """What is there to be read must not come back as what is there to be written, by directories that were renamed."""
    for name in ("read", "write"):
        (tmp_path / name).mkdir()
        bundle.mount(f"/{name}/here", "bind", tmp_path / name, "ro" if name == "read" else "rw")
    container.sleeping()
    container.exec("sh", "-c", "mv /read /x; mv /write /read; mv /x /write")
    message = container.fails("checkpoint", "--image-path", tmp_path / "image", container.id)

    assert message == f"error: /read/here: what is mounted there is not {tmp_path}/read, as config.json has it"
    assert container.status() == "running"
    assert not (tmp_path / "image").exists()


def test_what_is_masked_stays_masked(come_back, bundle):
    bundle.linux["maskedPaths"] = ["/proc/kcore", "/proc/timer_list", "/proc/acpi", "/proc/bus", "/proc/fs"]
    bundle.linux["readonlyPaths"] = ["/proc/sys", "/proc/irq"]
    for capabilities in bundle.process["capabilities"].values():
        capabilities.append("CAP_SYS_ADMIN")
    container = come_back()

    assert (
        container.exec("sh", "-c", "cat /proc/kcore /proc/timer_list; ls /proc/bus /proc/fs")
        == "/proc/bus:\n\n/proc/fs:\n"
    )
    assert "Read-only file system" in refused(container, "sh", "-c", "echo x >/proc/sys/kernel/hostname")


def test_cgroups_that_are_mounted_are_those_of_the_new_container(come_back, bundle, new_container):
    bundle.namespace("cgroup")
    bundle.mount("/sys", "sysfs", "sysfs", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    (twin := new_container()).bundle.rootfs.joinpath("etc/other").touch()
    come_back(twin)
    files = "/sys/fs/cgroup/cgroup.procs /sys/fs/cgroup/pids/cgroup.procs"

    assert "1\n" in twin.exec("sh", "-c", f"cat {files} 2>/dev/null; true")
    assert twin.exec("cat", "/etc/other") == ""
    assert {line.rpartition(":")[2] for line in twin.exec("cat", "/proc/self/cgroup").splitlines()} == {"/"}


def test_limits_and_device_rules_hold(come_back, bundle, new_container):
    bundle.resources["pids"] = {"limit": 7}
    bundle.resources["memory"] = {"limit": 16 << 20}
    bundle.resources["devices"] = [
        {"allow": False, "access": "rwm"},
        {"allow": True, "type": "c", "major": 99, "minor": 1, "access": "rw"},
    ]
    bundle.linux["devices"] = [
        {"path": f"/dev/mine{minor}", "type": "c", "major": 99, "minor": minor, "fileMode": 0o666} for minor in (1, 2)
    ]
    twin = come_back(new_container())
    assert "No such device or address" in refused(twin, "sh", "-c", ": </dev/mine1")  # allowed, but there is no driver
    assert "Operation not permitted" in refused(twin, "sh", "-c", ": </dev/mine2")
    assert twin.cgroup_file("pids", "pids.max") == "7"
    assert "Resource temporarily unavailable" in refused(twin, "sh", "-c", "for i in 1 2 3 4 5 6 7; do sleep 1 & done")


@pytest.mark.parametrize("mode", ["ignore", "full", "strict"])
def test_it_is_in_its_cgroup_whatever_criu_does_about_cgroups(container, new_container, tmp_path, mode):
    twin = new_container()
    container.bundle.resources["pids"] = {"limit": 7}
    twin.bundle.config = container.bundle.config
    container.sleeping()
    image = ("--image-path", tmp_path / "image", "--manage-cgroups-mode", mode)
    container.works("checkpoint", *image, container.id)
    result = twin.call(
        "restore", "--detach", "--pid-file", twin.pid_file, "--bundle", twin.bundle.path, *image, twin.id
    )

    if mode == "strict":
        reason = "criu would make the cgroups, which config.json has made already"
        assert result.stderr == f"error: --manage-cgroups-mode strict: {reason}\n"
    else:
        assert (result.returncode, result.stderr) == (0, "")
        assert twin.works("ps", "-f", "json", twin.id) == f"[{twin.pid()}]\n"
        assert twin.cgroup_file("pids", "pids.max") == "7"


def test_a_limit_of_memory_need_not_have_room_for_criu(come_back, bundle):
    bundle.resources["memory"] = {"limit": 6 << 20}
    container = come_back()

    assert container.status() == "running"


def test_hooks_are_run_as_runc_runs_them(come_back, bundle, container, tmp_path):
    hook = tmp_path / "hook"
    hook.write_text(f"#!/bin/sh\nread state\necho $1 $state >>{tmp_path}/ran\n")
    hook.chmod(0o755)
    kinds = ("prestart", "createRuntime", "createContainer", "startContainer", "poststart", "poststop")
    bundle.config["hooks"] = {
        kind: [{"path": str(hook), "args": ["hook", kind]}] for kind in kinds if kind != "startContainer"
    }
    come_back()
    ran = [line.split()[0] for line in (tmp_path / "ran").read_text().splitlines()]
    last = (tmp_path / "ran").read_text().splitlines()[-1]
    container.delete("--force")

    assert ran[4:] == ["poststop", "prestart", "createRuntime"]
    assert f'"pid":{container.pid_file.read_text()}' in last
    assert (tmp_path / "ran").read_text().splitlines()[-1].startswith("poststop ")


def test_a_network_that_hooks_set_up_is_left_to_them(come_back, bundle, container, tmp_path):
    hook = tmp_path / "hook"
    script = """#!/usr/bin/python3
import json, subprocess, sys
pid = json.load(sys.stdin)["pid"]
add = ["ip", "link", "add", "mine", "type", "veth", "peer", "name", "other"]
subprocess.run(["nsenter", "--net", "--target", str(pid), *add], check=True)
"""
    hook.write_text(script)
    hook.chmod(0o755)
    bundle.config["hooks"] = {"createRuntime": [{"path": str(hook)}]}
    come_back()

    assert "mine" in container.exec("cat", "/proc/net/dev")


def test_the_devices_of_a_network_without_hooks_come_back(come_back, bundle, container):
    come_back()

    assert "127.0.0.1/8" in container.exec("ip", "addr")


def test_a_failing_hook_undoes_the_restore(come_back, container, bundle, tmp_path):
    container.sleeping()
    container.works("checkpoint", "--image-path", tmp_path / "image", container.id)
    bundle.config["hooks"] = {"createRuntime": [{"path": "/bin/false"}]}
    before = sorted(os.listdir(tmp_path / "image"))
    message = container.fails(
        "restore", "--detach", "--bundle", bundle.path, "--image-path", tmp_path / "image", container.id
    )

    assert message == "error: error running createRuntime hook #0: /bin/false: exit status 1"
    assert not container.exists()
    assert container.cgroups() == []
    assert sorted(os.listdir(tmp_path / "image")) == before


def in_session(leader):
    """Return the pids of the processes in a session that have not ended."""
    found = []
    for path in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError):
            fields = path.read_text().rpartition(")")[2].split()
            if int(fields[3]) == leader and fields[0] not in "ZX":
                found.append(int(path.parent.name))
    return found


def test_what_a_killed_restore_has_made_can_be_deleted(container, bundle, tmp_path):
    container.sleeping()
    container.works("checkpoint", "--image-path", tmp_path / "image", container.id)
    bundle.config["hooks"] = {
        "createRuntime": [{"path": "/bin/sh", "args": ["sh", "-c", f"echo >{tmp_path}/on; sleep 2"]}]
    }
    bundle.save()
    place = ("--bundle", bundle.path, "--image-path", tmp_path / "image", "--pid-file", container.pid_file)
    with subprocess.Popen(container.command("restore", "--detach", *place, container.id)) as restoring:
        wait_until((tmp_path / "on").exists, "the hook runs")
        status = container.status()
        criu, _ = json.loads((container.root / container.id / "state.json").read_text())["criu"]
        before = in_session(criu)
        restoring.kill()
    container.wait_until("stopped")
    container.delete()

    assert status == "creating"
    assert len(before) > 1
    wait_until(lambda: in_session(criu) == [], "criu's processes have ended")
    assert container.cgroups() == []


def test_joined_namespaces_are_joined_again(come_back, bundle, container, tmp_path):
    # A pod: its processes' namespaces are those of a first one.
    flags = ["--net", "--ipc", "--uts", "--pid", "--fork", "--kill-child"]
    pod = subprocess.Popen(["unshare", *flags, "sh", "-c", "echo 1; exec sleep 1000"], stdout=subprocess.PIPE)
    pod.stdout.readline()
    first = int(Path(f"/proc/{pod.pid}/task/{pod.pid}/children").read_text())
    try:
        wanted = {"network": "net", "ipc": "ipc", "uts": "uts", "pid": "pid"}
        for type_, name in wanted.items():
            bundle.namespace(type_, f"/proc/{first}/ns/{name}")
        del bundle.config["hostname"]
        come_back()

        for name in wanted.values():
            assert os.readlink(f"/proc/{container.pid()}/ns/{name}") == os.readlink(f"/proc/{first}/ns/{name}")
        container.delete("--force")
    finally:
        pod.kill()
        pod.wait()


def test_the_host_s_namespaces_are_the_host_s_again(come_back, bundle, container):
    for type_ in ("network", "ipc", "uts", "pid"):
        bundle.without_namespace(type_)
    del bundle.config["hostname"]
    come_back()

    for name in ("net", "ipc", "uts", "pid"):
        assert os.readlink(f"/proc/{container.pid()}/ns/{name}") == os.readlink(f"/proc/self/ns/{name}")


USERS = [{"uid": 0, "gid": 0, "additionalGids": [5, 6]}, {"uid": 1000, "gid": 1001}]


# criu reads the limits of a process, and prlimit(2) shows another user's to that capability only.
@pytest.mark.parametrize("user", [USERS[0], pytest.param(USERS[1], marks=pytest.mark.needs("CAP_SYS_RESOURCE"))])
def test_privileges_are_what_they_were(come_back, bundle, container, user):
    bundle.process["user"] = user
    bundle.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 100, "hard": 200}]
    bundle.process["oomScoreAdj"] = 77
    bundle.process["ioPriority"] = {"class": "IOPRIO_CLASS_IDLE"}
    bundle.linux["seccomp"] = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "architectures": ["SCMP_ARCH_X86_64"],
        "syscalls": [{"names": ["mkdir", "mkdirat"], "action": "SCMP_ACT_ERRNO"}],
    }
    names = ("Uid", "Gid", "Groups", "CapEff", "CapBnd", "CapPrm", "NoNewPrivs", "Seccomp")

    def privileges():
        status = [line for line in container.proc("status").splitlines() if line.startswith(names)]
        limits = [line for line in container.proc("limits").splitlines() if line.startswith("Max open files")]
        ioprio = subprocess.run(["ionice", "-p", str(container.pid())], capture_output=True, text=True).stdout
        return [*status, *limits, container.proc("oom_score_adj"), ioprio, container.proc("cmdline")]

    container.sleeping()
    before = privileges()
    container.delete("--force")
    come_back()

    assert privileges() == before
    assert "idle" in before[-2]


def test_a_user_namespace_is_restored(bundle, container, tmp_path):
    bundle.user_namespace()
    bundle.process["args"] = ["sleep", "1000"]
    image = tmp_path / "image"
    streams = {"stdin": subprocess.DEVNULL, "stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    bundle.save()
    subprocess.run(container.command("run", "-d", "--bundle", bundle.path, container.id), **streams, check=True)
    container.works("checkpoint", "--image-path", image, container.id)
    mode = image.stat().st_mode
    container._detached("restore", "--detach", "--pid-file", container.pid_file, "--image-path", image)

    assert image.stat().st_mode == mode
    assert container.proc("uid_map").split() == ["0", "100000", "65536"]
    assert container.exec("id", "-u") == "0\n"


def test_a_paused_container_can_be_written_down(container, tmp_path):
    container.sleeping()
    container.works("pause", container.id)
    container.works("checkpoint", "--leave-running", "--image-path", tmp_path / "one", container.id)
    status = container.status()
    container.works("checkpoint", "--image-path", tmp_path / "two", container.id)
    container._detached("restore", "--detach", "--pid-file", container.pid_file, "--image-path", tmp_path / "two")

    assert status == "paused"
    assert container.status() == "running"
    assert container.exec("echo", "here") == "here\n"


def test_a_read_only_root_stays_read_only(come_back, bundle, container):
    bundle.config["root"]["readonly"] = True
    (bundle.rootfs / "tmp").rmdir()
    come_back()

    assert refused(container, "touch", "/x") == READ_ONLY.format("/x")
