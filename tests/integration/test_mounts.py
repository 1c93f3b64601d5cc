"""Mounts: file systems, binds, every option name of the spec, propagation."""

import os
import subprocess

import pytest
from harness import TIMEOUT, mounts_below

pytestmark = pytest.mark.needs("root", "/bin/busybox")


@pytest.fixture
def source(tmp_path):
    """A directory of the host with a file."""
    path = tmp_path / "source"
    path.mkdir()
    (path / "file").write_text("of the host")
    return path


@pytest.fixture
def nested(source):
    """A directory of the host with a tmpfs mounted in it."""
    (source / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", source / "sub"], check=True)
    (source / "sub/inner").write_text("inner")
    yield source
    subprocess.run(["umount", source / "sub"], check=True)


def mount_options(container, path):
    """Return the options of the mount at `path` in the container, of the mount itself and of its propagation."""
    for line in container.run("cat", "/proc/self/mountinfo").splitlines():
        fields = line.split()
        if fields[4] == path:
            return set(fields[5].split(",")) | {word.split(":")[0] for word in fields[6 : fields.index("-")]}
    raise AssertionError(f"nothing is mounted at {path}")


def test_the_default_file_systems_are_there(container, bundle):
    bundle.mount("/dev/shm", "tmpfs", "shm", "nosuid", "noexec", "nodev", "mode=1777", "size=65536k")
    bundle.mount("/dev/mqueue", "mqueue", "mqueue", "nosuid", "noexec", "nodev")
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    mounts = {line.split()[1]: line.split()[2] for line in container.run("cat", "/proc/mounts").splitlines()}

    expected = {"/proc": "proc", "/dev": "tmpfs", "/dev/pts": "devpts", "/dev/shm": "tmpfs", "/sys": "sysfs"}
    assert expected.items() <= mounts.items()
    assert mounts["/dev/mqueue"] == "mqueue"
    assert "/sys/fs/cgroup" in mounts


def test_the_cgroup_mount_shows_the_containers_own_cgroup(container, bundle):
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    bundle.resources["pids"] = {"limit": 77}

    assert container.sh("cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max") == "77"


def test_nothing_of_the_host_stays_mounted(container):
    paths = [line.split()[4] for line in container.run("cat", "/proc/self/mountinfo").splitlines()]

    assert set(paths) == {"/", "/proc", "/dev", "/dev/pts"}


def test_a_tmpfs_has_its_options(container, bundle):
    bundle.mount("/mnt", "tmpfs", "tmpfs", "size=64k", "mode=700", "uid=7")

    assert container.sh("stat -c '%a %u' /mnt; grep ' /mnt ' /proc/mounts").startswith("700 7")


def test_a_tmpfs_without_a_mode_has_that_of_the_directory(container, bundle):
    (bundle.rootfs / "mnt").mkdir(mode=0o750)
    bundle.mount("/mnt", "tmpfs", "tmpfs")

    assert container.run("stat", "-c", "%a", "/mnt") == "750\n"


def test_mounts_are_made_in_order(container, bundle, source):
    bundle.mount("/mnt", "tmpfs", "tmpfs")
    bundle.mount("/mnt/inner", "bind", source)

    assert container.run("cat", "/mnt/inner/file") == "of the host"


def test_a_directory_is_bound(container, bundle, source):
    bundle.mount("/mnt", "bind", source)

    assert container.run("cat", "/mnt/file") == "of the host"


def test_a_file_is_bound_over_one_that_is_made(container, bundle, source):
    bundle.mount("/etc/deep/name", "bind", source / "file")

    assert container.run("cat", "/etc/deep/name") == "of the host"


def test_a_bind_can_be_written_and_the_host_sees_it(container, bundle, source):
    bundle.mount("/mnt", "bind", source)
    container.sh("echo changed > /mnt/file")

    assert (source / "file").read_text() == "changed\n"


def test_a_bind_leaves_out_what_is_mounted_below(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested)

    assert container.run("ls", "/mnt/sub") == ""


def test_a_recursive_bind_has_what_is_mounted_below(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested, "rbind")

    assert container.run("cat", "/mnt/sub/inner") == "inner"


def test_ro_protects_the_mount_alone(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested, "rbind", "ro")

    assert container.sh("touch /mnt/x 2>/dev/null || echo no; touch /mnt/sub/x && echo yes") == "no\nyes"


def test_rro_protects_all_that_is_below(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested, "rbind", "rro")

    assert container.sh("touch /mnt/x 2>/dev/null || echo no; touch /mnt/sub/x 2>/dev/null || echo no") == "no\nno"
    assert "rw" in subprocess.run(["findmnt", "-no", "OPTIONS", nested / "sub"], capture_output=True, text=True).stdout


@pytest.mark.parametrize(
    "option, shown, hidden",
    [
        ("ro", "ro", "rw"),
        ("rw", "rw", "ro"),
        ("nosuid", "nosuid", ""),
        ("suid", "rw", "nosuid"),
        ("nodev", "nodev", ""),
        ("dev", "rw", "nodev"),
        ("noexec", "noexec", ""),
        ("exec", "rw", "noexec"),
        ("noatime", "noatime", "relatime"),
        ("atime", "relatime", "noatime"),
        ("relatime", "relatime", "noatime"),
        ("norelatime", "rw", "noatime"),
        ("strictatime", "rw", "relatime"),
        ("nostrictatime", "rw", "noatime"),
        ("nodiratime", "nodiratime", ""),
        ("diratime", "rw", "nodiratime"),
        ("nosymfollow", "nosymfollow", ""),
        ("symfollow", "rw", "nosymfollow"),
        ("defaults", "rw", "ro"),
        ("async", "rw", "ro"),
    ],
)
@pytest.mark.parametrize("kind", ["tmpfs", "bind"])
def test_an_option_by_each_of_the_specs_names(container, bundle, source, option, shown, hidden, kind):
    if kind == "bind" and option == "async":
        pytest.skip("an option of file systems")
    bundle.mount("/mnt", kind, source if kind == "bind" else "tmpfs", option)
    options = mount_options(container, "/mnt")

    assert shown in options
    assert hidden not in options


RECURSIVE = {
    "rro": "ro",
    "rrw": "rw",
    "rnosuid": "nosuid",
    "rsuid": "rw",
    "rnodev": "nodev",
    "rdev": "rw",
    "rnoexec": "noexec",
    "rexec": "rw",
    "rnoatime": "noatime",
    "ratime": "rw",
    "rrelatime": "relatime",
    "rnorelatime": "rw",
    "rstrictatime": "rw",
    "rnostrictatime": "rw",
    "rnodiratime": "nodiratime",
    "rdiratime": "rw",
    "rnosymfollow": "nosymfollow",
    "rsymfollow": "rw",
}


@pytest.mark.parametrize("option", RECURSIVE)
def test_a_recursive_option_reaches_what_is_below(container, bundle, nested, option):
    if container.name == "crun" and option in ("rnosymfollow", "rsymfollow"):
        pytest.skip("crun 1.8 does not know it")
    bundle.mount("/mnt", "bind", nested, "rbind", option)

    assert RECURSIVE[option] in mount_options(container, "/mnt/sub")


def test_the_later_of_two_options_wins(container, bundle, source):
    bundle.mount("/mnt", "bind", source, "ro", "rw", "nodev", "noexec", "exec")
    options = mount_options(container, "/mnt")

    assert {"rw", "nodev"} <= options
    assert not {"ro", "noexec"} & options


@pytest.mark.parametrize(
    "option, shown",
    [
        ("private", set()),
        ("rprivate", set()),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("slave", set()),
        ("rslave", set()),
        ("unbindable", {"unbindable"}),
        ("runbindable", {"unbindable"}),
    ],
)
def test_the_propagation_of_a_mount_is_the_configs(container, bundle, source, option, shown):
    bundle.mount("/mnt", "bind", source, option)

    assert mount_options(container, "/mnt") & {"shared", "unbindable"} == shown


@pytest.mark.parametrize(
    "propagation, shown",
    [
        ("private", set()),
        ("rprivate", set()),
        ("shared", {"shared"}),
        ("rshared", {"shared"}),
        ("unbindable", {"unbindable"}),
    ],
)
def test_the_propagation_of_the_root_is_the_configs(container, bundle, propagation, shown):
    if container.name == "runc" and propagation == "rshared":
        pytest.skip("runc 1.1 knows no recursive names")
    bundle.linux["rootfsPropagation"] = propagation

    assert mount_options(container, "/") & {"shared", "unbindable"} == shown


@pytest.mark.parametrize("propagation", ["", "shared", "rshared", "slave", "private"])
def test_no_mount_of_the_container_reaches_the_host(container, bundle, tmp_path, propagation):
    if container.name == "runc" and propagation == "rshared":
        pytest.skip("runc 1.1 knows no recursive names")
    if propagation:
        bundle.linux["rootfsPropagation"] = propagation
    bundle.process["capabilities"] = dict.fromkeys(("bounding", "effective", "permitted"), ["CAP_SYS_ADMIN"])
    bundle.process["args"] = ["sh", "-c", "mount -t tmpfs tmpfs /tmp; sleep 1000"]
    container.run_detached()

    assert mounts_below(tmp_path) == []


@pytest.mark.parametrize("propagation", ["", "private", "slave", "rprivate", "shared"])
def test_a_shared_mount_of_the_host_is_still_there(container, bundle, tmp_path, propagation):
    """The container's way out of the host's root must not be propagated back to it."""
    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.run(["mount", "--make-shared", "-t", "tmpfs", "tmpfs", shared], check=True)
    try:
        (shared / "inner").mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "inner"], check=True)
        if propagation:
            bundle.linux["rootfsPropagation"] = propagation
        container.run("true")

        assert mounts_below(shared) == [str(shared / "inner")]
    finally:
        subprocess.run(["umount", "-R", shared], check=True)


def test_a_read_only_root(container, bundle):
    bundle.config["root"]["readonly"] = True

    assert container.sh("touch /x 2>&1 || touch /dev/x && echo dev") == "touch: /x: Read-only file system\ndev"


def test_a_writable_root(container, bundle):
    container.sh("touch /x")

    assert (bundle.rootfs / "x").exists()


def test_a_read_only_dev_has_its_devices(container, bundle):
    bundle.config["mounts"][1]["options"].append("ro")

    assert container.sh("touch /dev/x 2>/dev/null || echo no; test -c /dev/null && echo null") == "no\nnull"


def test_a_root_below_a_shared_mount_works(container, bundle, tmp_path):
    shared = tmp_path / "shared"
    shared.mkdir()
    subprocess.run(["mount", "--make-shared", "-t", "tmpfs", "tmpfs", shared], check=True)
    try:
        subprocess.run(["cp", "-a", bundle.rootfs, shared], check=True)
        bundle.config["root"]["path"] = str(shared / "rootfs")

        assert container.run("echo", "well") == "well\n"
        assert mounts_below(shared) == []
    finally:
        subprocess.run(["umount", "-R", shared], check=True)


def test_an_overlay_is_a_root_file_system(container, bundle, tmp_path):
    upper = tmp_path / "overlay"
    subprocess.run(["mkdir", "-p", upper / "u", upper / "w", upper / "root"], check=True)
    options = f"lowerdir={bundle.rootfs},upperdir={upper}/u,workdir={upper}/w"
    subprocess.run(["mount", "-t", "overlay", "overlay", "-o", options, upper / "root"], check=True)
    try:
        bundle.config["root"]["path"] = str(upper / "root")
        container.sh("touch /made")

        assert (upper / "u/made").exists()
    finally:
        subprocess.run(["umount", upper / "root"], check=True)


def test_a_long_option_string_is_passed_whole(container, bundle, tmp_path):
    lower = []
    for i in range(40):
        (tmp_path / f"layer{i}").mkdir()
        (tmp_path / f"layer{i}" / f"file{i}").write_text("")
        lower.append(str(tmp_path / f"layer{i}"))
    bundle.mount("/mnt", "overlay", "overlay", f"lowerdir={':'.join(lower)}")

    assert len(container.run("ls", "/mnt").split()) == 40


def test_masked_paths_show_nothing(container, bundle):
    (bundle.rootfs / "secret").mkdir()
    (bundle.rootfs / "secret/file").write_text("secret")
    (bundle.rootfs / "password").write_text("secret")
    bundle.linux["maskedPaths"] = ["/secret", "/password", "/nonexistent/at/all"]

    assert container.sh("ls /secret; cat /password; touch /secret/x 2>/dev/null || echo no") == "no"


def test_masked_paths_stay_masked_for_root_with_capabilities(container, bundle):
    (bundle.rootfs / "password").write_text("secret")
    bundle.linux["maskedPaths"] = ["/password"]

    assert "secret" not in container.sh("cat /password; cp /password /tmp/copy; cat /tmp/copy")


def test_read_only_paths_cannot_be_written(container, bundle):
    (bundle.rootfs / "fixed").mkdir()
    bundle.linux["readonlyPaths"] = ["/fixed", "/proc/sys", "/nonexistent/at/all"]

    output = container.sh("touch /fixed/x 2>&1; echo 1 2>&1 > /proc/sys/net/ipv4/ip_forward; touch /tmp/x && echo tmp")
    assert output.count("Read-only file system") == 2
    assert output.endswith("tmp")


def test_the_default_devices_are_there(container):
    listed = container.sh("cd /dev; stat -c '%n %a %t:%T' null zero full random urandom tty")

    assert listed.split("\n") == [
        "null 666 1:3",
        "zero 666 1:5",
        "full 666 1:7",
        "random 666 1:8",
        "urandom 666 1:9",
        "tty 666 5:0",
    ]


def test_the_default_links_are_there(container):
    listed = container.sh("cd /dev; for one in fd stdin stdout stderr ptmx; do readlink $one; done")

    assert listed.split() == [
        "/proc/self/fd",
        "/proc/self/fd/0",
        "/proc/self/fd/1",
        "/proc/self/fd/2",
        "pts/ptmx",
    ]


def test_the_devices_work_and_no_others(container):
    script = "head -c 3 /dev/zero | od -An -tx1; echo x > /dev/null; echo x > /dev/full || echo full"

    assert container.sh(f"{{ {script}; head -c4 /dev/urandom | wc -c; }} 2>/dev/null").split() == [
        "00",
        "00",
        "00",
        "full",
        "4",
    ]


@pytest.mark.parametrize("kind, shown", [("c", "character special file"), ("b", "block special file"), ("p", "fifo")])
def test_a_device_of_the_config_is_made(container, bundle, kind, shown):
    device = {"path": "/dev/sub/mine", "type": kind, "fileMode": 0o640, "uid": 7, "gid": 8}
    if kind != "p":
        device |= {"major": 7, "minor": 200}
    bundle.linux["devices"] = [device]

    assert container.sh("stat -c '%F,%a,%u,%g' /dev/sub/mine") == f"{shown},640,7,8"


def test_a_device_of_the_config_needs_a_rule(container, bundle):
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 11, "fileMode": 0o666}]

    assert "not permitted" in container.sh("head -c1 /dev/mine 2>&1 || true")


def test_a_device_with_a_rule_can_be_opened(container, bundle):
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 4, "fileMode": 0o666}]
    rule = {"allow": True, "type": "c", "major": 1, "minor": 4, "access": "r"}
    bundle.resources["devices"] = [{"allow": False, "access": "rwm"}, rule]

    output = container.sh("head -c1 /dev/mine 2>&1 >/dev/null; { echo x > /dev/mine; } 2>&1 || true")
    assert [line.rpartition(": ")[2] for line in output.splitlines()] == [
        "No such device or address",  # the rule lets it pass; the kernel has no /dev/port
        "Operation not permitted",
    ]


def test_dev_of_the_host_gets_no_new_devices(container, bundle):
    before = sorted(os.listdir("/dev"))
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if not one["destination"].startswith("/dev")]
    bundle.mount("/dev", "bind", "/dev", "rbind", "ro")
    container.run("true", timeout=TIMEOUT)

    assert sorted(os.listdir("/dev")) == before


def test_remount_changes_the_mount_that_is_there(container, bundle):
    bundle.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=1m")
    bundle.mount("/tmp", "tmpfs", "tmpfs", "remount", "ro", "nosuid", "size=2m")
    lines = [line for line in container.run("cat", "/proc/self/mountinfo").splitlines() if line.split()[4] == "/tmp"]

    assert len(lines) == 1
    assert {"ro", "nosuid"} <= set(lines[0].split()[5].split(","))
    assert "size=2048k" in lines[0]


def test_remount_of_a_bind_leaves_the_file_system_alone(container, bundle, tmp_path):
    bundle.mount("/tmp", "bind", tmp_path)
    bundle.mount("/tmp", "bind", tmp_path, "remount", "ro")
    container.sh("touch /tmp/x; true")

    assert not (tmp_path / "x").exists()
    (tmp_path / "still-writable").touch()


@pytest.mark.only_pyrun("an error of its own")
def test_remount_of_what_is_no_mount_is_an_error(container, bundle):
    bundle.mount("/etc", "tmpfs", "tmpfs", "remount", "ro")

    assert 'rootfs at "/etc"' in container.run_fails("true")


def test_a_relative_destination_is_taken_from_the_root(container, bundle, source):
    bundle.mount("mnt/relative", "bind", source)

    assert container.sh("grep -c ' /mnt/relative ' /proc/self/mountinfo") == "1"
