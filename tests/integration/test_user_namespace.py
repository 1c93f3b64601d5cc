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


@pytest.mark.differs("runc", "it asks for mappings")
@pytest.mark.parametrize("kinds", [["uidMappings", "gidMappings"], ["uidMappings"], ["gidMappings"]], ids=" ".join)
def test_without_mappings_the_container_has_the_callers_ids_alone(container, bundle, kinds):
    bundle.user_namespace(0, 10)
    bundle.config["mounts"][2]["options"].remove("gid=5")
    for kind in kinds:
        del bundle.linux[kind]
    inside = container.look("cat /proc/self/uid_map /proc/self/gid_map; id -u").split()

    sizes = ["1" if kind in kinds else "10" for kind in ("uidMappings", "gidMappings")]
    assert inside == ["0", "0", sizes[0], "0", "0", sizes[1], "0"]
    assert inside[:6] == container.proc("uid_map").split() + container.proc("gid_map").split()


def test_all_default_mounts_work(mapped):
    mapped.bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    mapped.bundle.mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
    mapped.bundle.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")

    assert "sysfs /sys sysfs ro" in mapped.run("cat", "/proc/mounts")


@pytest.fixture
def run_as_a_user(container, tmp_path):
    """Return what the runtime says that a user without privileges runs the container by, which has one id."""
    bundle = container.bundle
    bundle.user_namespace(1000, 1)
    bundle.without_namespace("network")
    bundle.config["mounts"][2]["options"] = ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]
    del bundle.linux["resources"]
    runtime = tmp_path / "pyrun"
    runtime.write_bytes(open(container.runtime, "rb").read())
    runtime.chmod(0o755)
    container.root.mkdir()
    for path in (container.root, bundle.path):
        os.chown(path, 1000, 1000)

    def run_as_a_user(*command):
        bundle.process["args"] = list(command)
        bundle.save()
        called = [runtime, *container.command("run", "--bundle", bundle.path, container.id)[1:]]
        user = {"user": 1000, "group": 1000, "extra_groups": []}
        return subprocess.run(called, capture_output=True, text=True, timeout=TIMEOUT, **user)

    return run_as_a_user


@pytest.mark.only_pyrun("runc and crun ask for more of the caller than that")
@pytest.mark.needs("/usr/bin/newuidmap")
@pytest.mark.parametrize("mappings", [True, False], ids=["mappings", "without mappings"])
def test_a_user_without_privileges_runs_a_container(container, run_as_a_user, mappings):
    if not mappings:
        del container.bundle.linux["uidMappings"], container.bundle.linux["gidMappings"]
    result = run_as_a_user("id", "-u")

    assert (result.stdout, result.stderr) == ("0\n", "")


@pytest.mark.only_pyrun("runc and crun ask for more of the caller than that")
def test_a_user_without_privileges_gets_no_other_device_than_the_one_asked_for(container, run_as_a_user):
    container.bundle.linux["devices"] = [{"path": "/dev/zero", "type": "c", "major": 1, "minor": 77}]
    result = run_as_a_user("true")

    assert result.returncode == 1
    assert result.stderr.startswith("error: /dev/zero: the host has no such device there, ")
    assert result.stderr.endswith(": c 1:77\n")


@pytest.fixture
def private(tmp_path):
    """A directory of the host with files, below one that its root alone may enter."""
    path = tmp_path / "private/data"
    path.mkdir(parents=True)
    (path / "file").write_text("of the host")
    (path / "link").symlink_to("file")
    path.parent.chmod(0o700)
    return path


@pytest.mark.parametrize("name, inside", [("", "/file"), ("file", ""), ("link", "")])
@pytest.mark.parametrize("option", ["bind", "rbind"])
def test_a_source_that_only_the_hosts_root_can_reach_is_bound(mapped, private, name, inside, option):
    mapped.bundle.mount("/mnt", "bind", private / name, option)

    assert mapped.sh(f"cat /mnt{inside}") == "of the host"


def test_a_source_that_only_the_hosts_root_can_reach_is_bound_by_create(mapped, private):
    mapped.bundle.mount("/mnt", "bind", private, "ro")
    mapped.bundle.process["args"] = ["sh", "-c", "cat /mnt/file; touch /mnt/new 2>&1 || true"]
    mapped.create().start().wait_until("stopped")

    assert mapped.output() == "of the hosttouch: /mnt/new: Read-only file system\n"


@pytest.mark.differs("runc", "1.1 maps no mount")
def test_a_source_that_only_the_hosts_root_can_reach_has_its_ids_mapped(mapped, private):
    mapped.bundle.mount("/mnt", "bind", private, "idmap")

    assert mapped.sh("stat -c %u /mnt/file") == "0"


@pytest.mark.only_pyrun("runc and crun leave it to the container's root")
def test_layers_that_only_the_hosts_root_can_reach_are_mounted(mapped, private):
    (private.parent / "other").mkdir()
    (private.parent / "other/second").write_text("of the second")
    mapped.bundle.mount("/mnt", "overlay", "overlay", f"lowerdir={private}:{private.parent}/other")

    assert mapped.sh("cat /mnt/file /mnt/second") == "of the hostof the second"


@pytest.mark.only_pyrun("runc and crun leave it to the container's root")
def test_a_bundle_that_only_the_hosts_root_can_reach_is_run(mapped):
    mapped.bundle.path.chmod(0o700)

    assert mapped.sh("touch /mine && stat -c %u /mine") == "0"


@pytest.mark.only_pyrun("has no --overlay")
def test_a_layer_that_only_the_hosts_root_can_reach_is_written(mapped, private):
    mapped.run("touch", "/mine", options=[f"--overlay={private.parent}/layer"])

    assert (private.parent / "layer/upper/mine").stat().st_uid == HOST_ID


@pytest.mark.differs("runc", "1.1 opens all sources before it mounts anything")
@pytest.mark.parametrize(
    "idmap", [[], pytest.param(["idmap"], marks=pytest.mark.differs("crun", "1.8 opens it first"))]
)
def test_a_source_in_the_root_file_system_is_what_is_mounted_there_by_then(mapped, private, idmap):
    mapped.bundle.mount("/first", "bind", private)
    mapped.bundle.mount("/second", "bind", mapped.bundle.rootfs / "first", *idmap)

    assert mapped.sh("cat /second/file; stat -c ' %u' /second/file").split() == [
        *"of the host".split(),
        "0" if idmap else "65534",
    ]


@pytest.mark.only_pyrun("runc and crun bind whatever the host has by that name")
def test_a_device_is_the_one_that_was_asked_for_whatever_the_host_has_by_its_name(mapped):
    mapped.bundle.linux["devices"] = [
        {"path": "/dev/full", "type": "c", "major": 1, "minor": 3},
        {"path": "/dev/lacking/here", "type": "c", "major": 1, "minor": 5, "fileMode": 0o640, "gid": 8},
        {"path": "/dev/pipe", "type": "p", "fileMode": 0o600},
    ]
    inside = mapped.look(
        "cd /dev; stat -c '%F %t:%T' full; stat -c '%a %u:%g %t:%T' lacking/here; stat -c '%F %a' pipe"
    )
    found = [os.stat(f"/proc/{mapped.pid()}/root/dev/{name}") for name in ("full", "lacking/here")]

    assert inside.splitlines() == ["character special file 1:3", "640 0:8 1:5", "fifo 600"]
    assert [one.st_rdev for one in found] == [os.makedev(1, 3), os.makedev(1, 5)]
    assert mapped.exec("sh", "-c", "echo x >/dev/full; head -c 2 /dev/lacking/here | od -An -tx1") == " 00 00\n"


@pytest.mark.differs("crun", "1.8 opens it in the mount namespace of the host, where nothing is locked")
def test_what_the_host_has_mounted_read_only_stays_so(mapped, private):
    """Also if the container's root may mount: the attribute is locked, mount_namespaces(7)."""
    place = private.parent / "mounted"
    place.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "mode=777", "tmpfs", place], check=True)
    subprocess.run(["mount", "-o", "remount,bind,ro", place], check=True)
    try:
        mapped.bundle.mount("/mnt", "bind", place)
        mapped.bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ["CAP_SYS_ADMIN"])
        output = mapped.sh("mount -o remount,bind,rw /mnt 2>&1; touch /mnt/x 2>&1 || true")
    finally:
        subprocess.run(["umount", place], check=True)

    assert output.splitlines() == [
        "mount: permission denied (are you root?)",
        "touch: /mnt/x: Read-only file system",
    ]


def test_mappings_without_a_user_namespace_are_ignored(container, bundle):
    bundle.linux["uidMappings"] = bundle.linux["gidMappings"] = [{"containerID": 0, "hostID": HOST_ID, "size": 10}]
    bundle.process["user"] = {"uid": 1000, "gid": 1000}
    bundle.process["args"] = ["cat", "/proc/self/uid_map"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert result.stdout.split() == ["0", "0", "4294967295"]
    if container.name == "pyrun":
        assert "linux.uidMappings: is ignored, there is no user namespace" in result.stderr


@pytest.mark.only_pyrun("options of crun that 1.8 does not know in a user namespace")
def test_a_symlink_that_only_the_hosts_root_can_reach_is_copied_or_bound(mapped, private):
    mapped.bundle.mount("/copy", "bind", private / "link", "copy-symlink")
    mapped.bundle.mount("/bound", "bind", private / "link", "src-nofollow")

    assert mapped.sh("readlink /copy; readlink /bound").split() == ["file", "file"]
