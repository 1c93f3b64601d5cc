"""Mounts: file systems, binds, every option name of the spec, propagation."""

import subprocess

import pytest
from harness import mounts_below

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
