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


@pytest.mark.proves("linux.namespaces[].type=user")
def test_a_new_user_namespace_is_another_than_the_hosts(mapped):
    inside = mapped.look("readlink /proc/self/ns/user")

    assert inside == os.readlink(f"/proc/{mapped.pid()}/ns/user")
    assert inside != os.readlink("/proc/self/ns/user")


@pytest.mark.proves(
    *(f"linux.{kind}[].{name}" for kind in ("uidMappings", "gidMappings") for name in ("containerID", "hostID", "size"))
)
def test_the_maps_are_the_configs(mapped):
    for kind, second in (("uidMappings", 200000), ("gidMappings", 300000)):
        mapped.bundle.linux[kind] = [
            {"containerID": 0, "hostID": HOST_ID, "size": 1000},
            {"containerID": 1000, "hostID": second, "size": 10},
        ]
    inside = mapped.look("cat /proc/self/uid_map /proc/self/gid_map").split()
    first = ["0", str(HOST_ID), "1000"]

    assert inside == [*first, "1000", "200000", "10", *first, "1000", "300000", "10"]
    assert inside == mapped.proc("uid_map").split() + mapped.proc("gid_map").split()


@pytest.mark.parametrize("user", [{"uid": 0, "gid": 0}, {"uid": 1000, "gid": 1001, "additionalGids": [2000]}])
def test_who_one_is_inside_is_another_outside(mapped, user):
    mapped.bundle.process["user"] = user
    inside = mapped.look("id -u; id -g; id -G").split()
    outside = dict(line.split(":", 1) for line in mapped.proc("status").splitlines())

    assert inside[:2] == [str(user["uid"]), str(user["gid"])]
    assert outside["Uid"].split() == [str(HOST_ID + user["uid"])] * 4
    assert outside["Gid"].split() == [str(HOST_ID + user["gid"])] * 4
    for gid in user.get("additionalGids", ()):
        assert str(gid) in inside
        assert outside["Groups"].split() == [str(HOST_ID + gid)]


@pytest.mark.proves("linux.sysctl")
@pytest.mark.differs("runc", "user.* is not among its sysctls")
@pytest.mark.differs("crun", "user.* is not among its sysctls")
def test_a_sysctl_of_the_user_namespace_is_set_there_alone(mapped):
    mapped.bundle.linux["sysctl"] = {"user.max_pid_namespaces": "7"}
    inside = mapped.look("cat /proc/sys/user/max_pid_namespaces")
    command = ["nsenter", "--target", str(mapped.pid()), "--user", "cat", "/proc/sys/user/max_pid_namespaces"]

    assert inside == subprocess.run(command, capture_output=True, text=True, check=True).stdout.strip() == "7"
    assert open("/proc/sys/user/max_pid_namespaces").read() != "7\n"


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


@pytest.mark.proves(
    "linux.namespaces[].path", "linux.namespaces[].path: of each type", "linux.uidMappings: of a joined namespace"
)
def test_a_user_namespace_is_joined_by_its_path(mapped):
    """With the mappings that it has already, as engines write them."""
    holder = subprocess.Popen(["unshare", "--user", "sleep", "1000"])
    try:
        wait_until(lambda: open(f"/proc/{holder.pid}/comm").read() == "sleep\n", "it sleeps")
        for kind in ("uid", "gid"):
            with open(f"/proc/{holder.pid}/{kind}_map", "w") as file:
                file.write(f"0 {HOST_ID} 65536\n")
        path = f"/proc/{holder.pid}/ns/user"
        mapped.bundle.namespace("user", path)
        inside = mapped.look("readlink /proc/self/ns/user; cat /proc/self/uid_map; id -u").splitlines()[-3:]

        assert " ".join(inside).split() == [os.readlink(path), "0", str(HOST_ID), "65536", "0"]
        assert os.readlink(f"/proc/{mapped.pid()}/ns/user") == os.readlink(path)
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
