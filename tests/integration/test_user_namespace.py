"""User namespaces: ids are mapped, and root inside is nobody outside."""

import os
import subprocess

import pytest
from harness import TIMEOUT, wait_until

pytestmark = pytest.mark.needs("root", "/bin/busybox", "namespace user")

HOST_ID = 100000


@pytest.fixture
def mapped(container):
    container.bundle.user_namespace(HOST_ID)
    return container


def test_the_maps_are_the_configs(mapped):
    assert mapped.run("cat", "/proc/self/uid_map", "/proc/self/gid_map").split() == ["0", str(HOST_ID), "65536"] * 2


def test_several_mappings_are_written(mapped):
    for kind in ("uidMappings", "gidMappings"):
        mapped.bundle.linux[kind] = [
            {"containerID": 0, "hostID": HOST_ID, "size": 1000},
            {"containerID": 1000, "hostID": 200000, "size": 10},
        ]

    assert mapped.run("cat", "/proc/self/uid_map").split() == ["0", str(HOST_ID), "1000", "1000", "200000", "10"]


def test_root_inside_is_another_user_outside(mapped):
    mapped.sleeping()
    status = mapped.proc("status")

    assert status.split("Uid:")[1].split()[:4] == [str(HOST_ID)] * 4
    assert mapped.exec("id", "-u") == "0\n"


def test_another_user_inside_is_mapped_too(mapped):
    mapped.bundle.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [2000]}
    mapped.sleeping()
    status = mapped.proc("status")

    assert status.split("Uid:")[1].split()[0] == str(HOST_ID + 1000)
    assert status.split("Groups:")[1].splitlines()[0].split() == [str(HOST_ID + 2000)]


def test_files_of_the_container_belong_to_its_root(mapped):
    mapped.sh("touch /tmp/made")

    assert (mapped.bundle.rootfs / "tmp/made").stat().st_uid == HOST_ID


def test_the_devices_are_there_and_work(mapped):
    output = mapped.sh(
        "for one in null zero full random urandom tty; do test -c /dev/$one && echo $one; done; echo x > /dev/null"
    )

    assert output.split() == ["null", "zero", "full", "random", "urandom", "tty"]


def test_exec_joins_the_user_namespace(mapped):
    mapped.sleeping()
    pid = mapped.pid()

    assert mapped.exec("readlink", "/proc/self/ns/user").strip() == os.readlink(f"/proc/{pid}/ns/user")
    assert mapped.exec("id", "-u", options=["--user", "5"]) == "5\n"


def test_capabilities_inside_are_none_outside(mapped):
    mapped.bundle.process["capabilities"] = dict.fromkeys(
        ("bounding", "effective", "permitted"), ["CAP_SYS_ADMIN", "CAP_SYS_TIME"]
    )

    assert "not permitted" in mapped.sh("date -s 2000-01-01 2>&1 || true")


def test_a_user_namespace_is_joined_by_its_path(mapped):
    holder = subprocess.Popen(["unshare", "--user", "sleep", "1000"])
    try:
        wait_until(lambda: open(f"/proc/{holder.pid}/comm").read() == "sleep\n", "it sleeps")
        for kind in ("uid", "gid"):
            with open(f"/proc/{holder.pid}/{kind}_map", "w") as file:
                file.write(f"0 {HOST_ID} 65536\n")
        path = f"/proc/{holder.pid}/ns/user"
        mapped.bundle.namespace("user", path)
        mapped.sleeping()

        assert os.readlink(f"/proc/{mapped.pid()}/ns/user") == os.readlink(path)
        assert mapped.exec("id", "-u") == "0\n"
    finally:
        holder.kill()
        holder.wait(TIMEOUT)


@pytest.mark.only_pyrun("the wording")
def test_mappings_are_required(mapped):
    del mapped.bundle.linux["uidMappings"]

    assert "linux.uidMappings is required" in mapped.run_fails()


def test_all_default_mounts_work(mapped):
    mapped.bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    mapped.bundle.mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
    mapped.bundle.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")

    assert "sysfs /sys sysfs ro" in mapped.run("cat", "/proc/mounts")


@pytest.mark.only_pyrun("runc and crun ask for more of the caller than that")
@pytest.mark.needs("/usr/bin/newuidmap")
def test_a_user_without_privileges_runs_a_container(container, tmp_path):
    bundle = container.bundle
    bundle.user_namespace(1000, 1)
    bundle.config["linux"]["uidMappings"][0]["hostID"] = 1000
    bundle.without_namespace("network")
    bundle.config["mounts"][2]["options"] = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    del bundle.linux["resources"]
    bundle.process["args"] = ["id", "-u"]
    bundle.save()
    container.root.mkdir()
    os.chown(container.root, 1000, 1000)
    os.chown(bundle.path, 1000, 1000)
    runtime = tmp_path / "pyrun"
    runtime.write_bytes(open(container.runtime, "rb").read())
    runtime.chmod(0o755)
    command = [runtime, *container.command("run", "--bundle", bundle.path, container.id)[1:]]
    result = subprocess.run(
        command, capture_output=True, text=True, user=1000, group=1000, extra_groups=[], timeout=TIMEOUT
    )

    assert (result.stdout, result.stderr) == ("0\n", "")
