"""Mounts: file systems, binds, every option name of the spec, propagation."""

import os
import shutil
import stat
import subprocess
from pathlib import Path

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


class Mounts:
    """What /proc/PID/mountinfo says of a container's mounts, as its program sees it and as the host does."""

    def __init__(self, container):
        self.sides = container.both_sides("mountinfo")

    def _words(self, path, attributes, superblock):
        """Return the last mount at `path`: alike on both sides."""
        found = []
        for side in self.sides:
            lines = [line.split() for line in side.splitlines() if line.split()[4] == path]
            assert lines, f"nothing is mounted at {path}"
            dash = lines[-1].index("-")
            words = lines[-1][5].split(",") + lines[-1][6:dash] if attributes else []
            found.append({word.split(":")[0] for word in words + superblock * lines[-1][-1].split(",")})
        assert found[0] == found[1]
        return found[0]

    def attributes(self, path):
        """Return the attributes of the mount, and its propagation."""
        return self._words(path, True, 0)

    def superblock(self, path):
        return self._words(path, False, 1)

    def paths(self):
        return {line.split()[4] for line in self.sides[1].splitlines()}


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


@pytest.mark.proves("mounts[].type=cgroup")
def test_the_cgroup_mount_shows_the_containers_own_cgroup(container, bundle):
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "nosuid", "noexec", "nodev", "relatime", "ro")
    bundle.resources["pids"] = {"limit": 77}
    container.sleeping()

    limit = "cat /sys/fs/cgroup/pids/pids.max || cat /sys/fs/cgroup/pids.max"
    assert container.exec("sh", "-c", limit) == "77\n"
    assert container.call("exec", container.id, "mkdir", "/sys/fs/cgroup/pids/x").returncode == 1
    directory = Path(f"/proc/{container.pid()}/root/sys/fs/cgroup")
    directory = directory / "pids" if (directory / "pids").exists() else directory
    assert any(os.path.samefile(directory, one) for one in container.cgroups())


@pytest.mark.proves("mounts[].type=cgroup2")
@pytest.mark.only_pyrun("of a hybrid layout runc 1.1 mounts the v1 part, crun 1.8 the root of v2")
def test_the_cgroup2_mount_shows_the_containers_own_cgroup_of_v2(container, bundle):
    bundle.mount("/cgroup", "cgroup2", "cgroup2", "nosuid", "noexec", "nodev", "ro")
    container.sleeping()

    assert container.exec("cat", "/cgroup/cgroup.procs").splitlines()[0] == "1"
    directory = f"/proc/{container.pid()}/root/cgroup"
    assert any(os.path.samefile(directory, one) for one in container.cgroups())
    assert container.call("exec", container.id, "mkdir", "/cgroup/x").returncode == 1


def test_nothing_of_the_host_stays_mounted(container):
    assert Mounts(container).paths() == {"/", "/proc", "/dev", "/dev/pts"}


@pytest.mark.proves("mounts[].type")
def test_a_tmpfs_has_its_options(container, bundle):
    bundle.mount("/mnt", "tmpfs", "tmpfs", "size=64k", "mode=700", "uid=7")
    container.sleeping()
    found = os.stat(f"/proc/{container.pid()}/root/mnt")

    assert (stat.S_IMODE(found.st_mode), found.st_uid) == (0o700, 7)
    assert container.exec("stat", "-c", "%a %u", "/mnt") == "700 7\n"
    (line,) = [one for one in container.proc("mounts").splitlines() if one.split()[1] == "/mnt"]
    assert line.split()[2] == "tmpfs"
    assert "size=64k" in line


@pytest.mark.differs("crun", "1.8 gives it the mode 1777")
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


@pytest.mark.proves("mounts[].source", "mounts[].destination", "mounts[].options=bind")
def test_a_bind_can_be_written_and_the_host_sees_it(container, bundle, source):
    bundle.mount("/mnt", "bind", source)
    container.sleeping()
    container.exec("sh", "-c", "echo changed > /mnt/file")

    assert (source / "file").read_text() == "changed\n"
    assert os.path.samefile(f"/proc/{container.pid()}/root/mnt", source)


@pytest.mark.proves("mounts[].destination: overmounts of /proc")
def test_some_files_of_procfs_can_be_mounted_over(container, bundle, source):
    for name in ("cpuinfo", "diskstats", "meminfo", "stat", "swaps", "uptime", "loadavg"):
        bundle.mount(f"/proc/{name}", "bind", source / "file", "ro")
    container.sleeping()

    assert container.exec("cat", "/proc/uptime", "/proc/meminfo") == "of the host" * 2
    assert container.proc("mountinfo").count(" /proc/") == 7


@pytest.mark.proves("mounts[].destination: overmounts of /proc")
@pytest.mark.differs("crun", "1.8 lets any be mounted over")
@pytest.mark.parametrize("path", ["/proc/self", "/proc/1/attr", "/proc/version"])
def test_what_else_is_in_procfs_cannot_be_mounted_over(container, bundle, source, path):
    bundle.mount(path, "bind", source / "file")

    assert "inside /proc" in container.run_fails("true")


def test_a_bind_leaves_out_what_is_mounted_below(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested)

    assert container.run("ls", "/mnt/sub") == ""


@pytest.mark.proves("mounts[].options=rbind")
def test_a_recursive_bind_has_what_is_mounted_below(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested, "rbind")

    assert container.run("cat", "/mnt/sub/inner") == "inner"
    assert "/mnt/sub" in Mounts(container).paths()


def test_ro_protects_the_mount_alone(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested, "rbind", "ro")

    assert container.sh("touch /mnt/x 2>/dev/null || echo no; touch /mnt/sub/x && echo yes") == "no\nyes"


def test_rro_protects_all_that_is_below(container, bundle, nested):
    bundle.mount("/mnt", "bind", nested, "rbind", "rro")

    assert container.sh("touch /mnt/x 2>/dev/null || echo no; touch /mnt/sub/x 2>/dev/null || echo no") == "no\nno"
    assert "rw" in subprocess.run(["findmnt", "-no", "OPTIONS", nested / "sub"], capture_output=True, text=True).stdout


def option(name, *more, differs=(), **words):
    """A case of a test about the option `name`; `differs` names the peers that fail, with the reason."""
    marks = [pytest.mark.proves(f"mounts[].options={name}"), *(pytest.mark.differs(*one) for one in differs)]
    return pytest.param(name, *more, marks=marks, id=name)


NO_SYMFOLLOW = [("crun", "1.8 does not know it")]
REFUSED = [("runc", "1.1 refuses it")]
TAKEN_BACK = [("crun", "1.8 takes no earlier option back")]
ADDED = [("runc", "1.1 adds to the clock that came before"), ("crun", "1.8 adds to the clock that came before")]
RECURSIVE_CLOCK = [("crun", "1.8 cannot change the clock of what is below")]
NO_PROPAGATION = [("crun", "1.8 leaves the propagation as it is")]


@pytest.mark.parametrize(
    "option, before, shown, hidden",
    [
        option("ro", "rw", {"ro"}, {"rw"}),
        option("rw", "ro", {"rw"}, {"ro"}, differs=TAKEN_BACK),
        option("nosuid", "suid", {"nosuid"}, set()),
        option("suid", "nosuid", set(), {"nosuid"}, differs=TAKEN_BACK),
        option("nodev", "dev", {"nodev"}, set()),
        option("dev", "nodev", set(), {"nodev"}, differs=TAKEN_BACK),
        option("noexec", "exec", {"noexec"}, set()),
        option("exec", "noexec", set(), {"noexec"}, differs=TAKEN_BACK),
        option("noatime", "strictatime", {"noatime"}, {"relatime"}, differs=ADDED),
        option("atime", "noatime", {"relatime"}, {"noatime"}, differs=TAKEN_BACK),
        option("relatime", "noatime", {"relatime"}, {"noatime"}, differs=ADDED),
        option("norelatime", "noatime", {"noatime"}, {"relatime"}),
        option("strictatime", "relatime", set(), {"relatime", "noatime"}),
        option("nostrictatime", "strictatime", {"relatime"}, {"noatime"}, differs=TAKEN_BACK),
        option("nodiratime", "diratime", {"nodiratime"}, set()),
        option("diratime", "nodiratime", set(), {"nodiratime"}, differs=TAKEN_BACK),
        option("nosymfollow", "symfollow", {"nosymfollow"}, set(), differs=NO_SYMFOLLOW),
        option("symfollow", "nosymfollow", set(), {"nosymfollow"}, differs=NO_SYMFOLLOW),
        option("defaults", "rw", {"rw", "relatime"}, {"nosuid", "nodev", "noexec"}, differs=REFUSED),
    ],
)
def test_an_option_by_each_of_the_specs_names(container, bundle, source, option, before, shown, hidden):
    """After its opposite, which it takes back."""
    bundle.mount("/tmp", "tmpfs", "tmpfs", before, option)
    bundle.mount("/mnt", "bind", source, before, option)
    mounts = Mounts(container)

    for path in ("/tmp", "/mnt"):
        assert shown <= mounts.attributes(path)
        assert not hidden & mounts.attributes(path)


@pytest.fixture
def mounted(source):
    """Have a tmpfs of the host in `source`, mounted with the options given."""
    places = []

    def mounted(options, name="mounted"):
        places.append(source / name)
        places[-1].mkdir()
        subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", places[-1]], check=True)
        return places[-1]

    yield mounted
    for place in places[::-1]:
        subprocess.run(["umount", "-R", place], check=True)


RESTRICTED = {"ro", "nosuid", "nodev", "noexec", "noatime", "nodiratime"}


@pytest.mark.differs("crun", "1.8 leaves the attributes of the source as they are")
def test_a_bind_takes_back_the_attributes_of_its_source(container, bundle, mounted):
    place = mounted(",".join(RESTRICTED))
    bundle.mount("/kept", "bind", place)
    bundle.mount("/mnt", "bind", place, "rw", "suid", "dev", "exec", "relatime", "diratime")
    mounts = Mounts(container)

    assert mounts.attributes("/kept") >= RESTRICTED
    assert not mounts.attributes("/mnt") & RESTRICTED


def test_the_attributes_do_what_they_say(container, bundle, mounted):
    """In /yes all is allowed, in /no nothing; `id` is of the host: busybox gives up set-user-ID by itself."""
    place = mounted("mode=777")
    (place / "program").write_text("#!/bin/sh\n")
    shutil.copy("/usr/bin/id", place / "id")
    os.mknod(place / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
    for name, mode in (("program", 0o755), ("id", 0o4755), ("null", 0o666)):
        os.chown(place / name, 7, 7)
        (place / name).chmod(mode)
    for path in ("/usr", "/lib", "/lib64"):
        bundle.mount(path, "bind", path, "ro")
    bundle.mount("/yes", "bind", place, "rw", "suid", "dev", "exec")
    bundle.mount("/no", "bind", place, "ro", "nosuid", "nodev", "noexec")
    bundle.mount("/nosuid", "bind", place, "nosuid")
    bundle.process.update(user={"uid": 1000, "gid": 1000}, noNewPrivileges=False)
    tests = "touch $at/x && echo rw; $at/program && echo exec; true <$at/null && echo dev"
    script = f"for at in /yes /no; do echo $at; {tests}; done 2>/dev/null; /yes/id -u; /nosuid/id -u"

    assert container.sh(script).split() == ["/yes", "rw", "exec", "dev", "/no", "7", "1000"]


@pytest.mark.differs(*NO_SYMFOLLOW[0])
def test_nosymfollow_and_noatime_do_what_they_say(container, bundle, mounted):
    place = mounted("strictatime")
    (place / "file").write_text("content")
    (place / "link").symlink_to("file")
    bundle.mount("/yes", "bind", place, "symfollow", "strictatime")
    bundle.mount("/no", "bind", place, "nosymfollow", "noatime")

    def atime_after(path):
        os.utime(place / "file", ns=(0, 0))
        container.sh(f"cat {path}")
        return (place / "file").stat().st_atime_ns

    assert atime_after("/no/file") == 0
    assert atime_after("/yes/file") > 0
    assert container.sh("cat /yes/link; cat /no/link 2>/dev/null || echo no") == "contentno"


@pytest.mark.parametrize(
    "option, before, shown, hidden",
    [
        option("sync", "async", {"sync"}, set()),
        option("async", "sync", set(), {"sync"}, differs=TAKEN_BACK),
        option("dirsync", "rw", {"dirsync"}, set()),
        option("lazytime", "nolazytime", {"lazytime"}, set()),
        option("nolazytime", "lazytime", set(), {"lazytime"}),
        option("mand", "nomand", {"mand"}, set()),
        option("nomand", "mand", set(), {"mand"}, differs=TAKEN_BACK),
    ],
)
def test_an_option_of_the_file_system(container, bundle, option, before, shown, hidden):
    bundle.mount("/mnt", "tmpfs", "tmpfs", before, option)
    words = Mounts(container).superblock("/mnt")

    assert shown <= words
    assert not hidden & words


@pytest.mark.needs("strace")
@pytest.mark.parametrize(
    "options, flags",
    [
        option("silent", {"MS_SILENT"}, differs=[("crun", "1.8 does not know it")]),
        option("loud", set(), differs=[("crun", "1.8 does not know it")]),
        option("iversion", {"MS_I_VERSION"}, differs=[("crun", "1.8 does not know it")]),
        option("noiversion", set(), differs=[("crun", "1.8 does not know it")]),
    ],
)
def test_an_option_that_no_file_shows_reaches_the_kernel(container, bundle, tmp_path, options, flags):
    opposite = {"loud": ["silent"], "noiversion": ["iversion"]}.get(options, [])
    bundle.mount("/mnt", "tmpfs", "tmpfs", *opposite, options, "size=64k")
    bundle.process["args"] = ["grep", " /mnt ", "/proc/mounts"]
    bundle.save()
    strace = ["strace", "-f", "-qq", "-e", "trace=mount", "-o", tmp_path / "calls"]
    command = [*strace, *container.command("run", "--bundle", bundle.path, container.id)]
    result = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=TIMEOUT)

    assert "size=64k" in result.stdout, result.stderr
    calls = [line for line in (tmp_path / "calls").read_text().splitlines() if "size=64k" in line]
    assert {flag for flag in ("MS_SILENT", "MS_I_VERSION") if any(flag in line for line in calls)} == flags


RECURSIVE = [
    option("rro", "rw", {"ro"}, {"rw"}),
    option("rrw", "ro", {"rw"}, {"ro"}),
    option("rnosuid", "suid", {"nosuid"}, set()),
    option("rsuid", "nosuid", set(), {"nosuid"}),
    option("rnodev", "dev", {"nodev"}, set()),
    option("rdev", "nodev", set(), {"nodev"}),
    option("rnoexec", "exec", {"noexec"}, set()),
    option("rexec", "noexec", set(), {"noexec"}),
    option("rnoatime", "relatime", {"noatime"}, {"relatime"}, differs=RECURSIVE_CLOCK),
    option("ratime", "noatime", {"relatime"}, {"noatime"}, differs=REFUSED + RECURSIVE_CLOCK),
    option("rrelatime", "noatime", {"relatime"}, {"noatime"}, differs=RECURSIVE_CLOCK),
    option("rnorelatime", "relatime", {"relatime"}, {"noatime"}),
    option("rstrictatime", "relatime", set(), {"noatime", "relatime"}, differs=RECURSIVE_CLOCK),
    option("rnostrictatime", "strictatime", {"relatime"}, {"noatime"}, differs=REFUSED + RECURSIVE_CLOCK),
    option("rnodiratime", "diratime", {"nodiratime"}, set(), differs=RECURSIVE_CLOCK),
    option("rdiratime", "nodiratime", set(), {"nodiratime"}, differs=RECURSIVE_CLOCK),
    option("rnosymfollow", "symfollow", {"nosymfollow"}, set(), differs=NO_SYMFOLLOW),
    option("rsymfollow", "nosymfollow", set(), {"nosymfollow"}, differs=NO_SYMFOLLOW),
]


@pytest.mark.parametrize("option, before, shown, hidden", RECURSIVE)
def test_a_recursive_option_reaches_what_is_below(container, bundle, source, mounted, option, before, shown, hidden):
    """Where the host has mounted with the opposite."""
    mounted(before, "sub")
    bundle.mount("/mnt", "bind", source, "rbind", option)
    mounts = Mounts(container)

    for path in ("/mnt", "/mnt/sub"):
        assert shown <= mounts.attributes(path)
        assert not hidden & mounts.attributes(path)


@pytest.mark.parametrize("option", ["rro", "rnosuid", "rnodev", "rnoexec"])
def test_a_recursive_option_holds_beside_one_that_is_not(container, bundle, source, mounted, option):
    mounted("size=64k", "sub")
    beside = "nodev" if option != "rnodev" else "nosuid"
    bundle.mount("/mnt", "bind", source, "rbind", option, beside)
    mounts = Mounts(container)

    assert {option[1:], beside} <= mounts.attributes("/mnt")
    assert option[1:] in mounts.attributes("/mnt/sub")


@pytest.mark.differs(*TAKEN_BACK[0])
def test_the_later_of_two_options_wins(container, bundle, source):
    bundle.mount("/mnt", "bind", source, "ro", "rw", "nodev", "noexec", "exec")
    attributes = Mounts(container).attributes("/mnt")

    assert {"rw", "nodev"} <= attributes
    assert not {"ro", "noexec"} & attributes


@pytest.fixture
def shared(mounted):
    """A shared mount of the host, with another one in it."""
    place = mounted("mode=755")
    (place / "sub").mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", place / "sub"], check=True)
    subprocess.run(["mount", "--make-rshared", place], check=True)
    return place


KINDS = {"shared", "master", "unbindable"}


@pytest.mark.parametrize(
    "option, shown",
    [
        option("private", set()),
        option("rprivate", set()),
        option("shared", {"shared"}, differs=NO_PROPAGATION),
        option("rshared", {"shared"}, differs=NO_PROPAGATION),
        option("slave", {"master"}, differs=NO_PROPAGATION),
        option("rslave", {"master"}, differs=NO_PROPAGATION),
        option("unbindable", {"unbindable"}, differs=NO_PROPAGATION),
        option("runbindable", {"unbindable"}, differs=NO_PROPAGATION),
    ],
)
def test_the_propagation_of_a_mount_is_the_configs(container, bundle, shared, option, shown):
    bundle.mount("/mnt", "bind", shared, "rbind", option)
    mounts = Mounts(container)

    assert mounts.attributes("/mnt") & KINDS - {"master"} == shown - {"master"}
    assert "master" in mounts.attributes("/mnt") or shown != {"master"}
    below = mounts.attributes("/mnt/sub") & KINDS
    if option.startswith("r"):
        assert shown <= below and (shown or not below)
    else:
        assert not {"shared", "unbindable"} & below


@pytest.mark.parametrize(
    "propagation, arrives",
    [pytest.param("slave", True, marks=pytest.mark.differs(*NO_PROPAGATION[0])), ("private", False)],
)
def test_what_the_host_mounts_later_arrives_where_the_mount_is_a_slave(container, bundle, shared, propagation, arrives):
    (shared / "late").mkdir()
    bundle.mount("/mnt", "bind", shared, "rbind", propagation)
    container.sleeping()
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", shared / "late"], check=True)
    (shared / "late/file").touch()

    assert ("file" in container.exec("ls", "/mnt/late")) == arrives
    assert (" /mnt/late " in container.proc("mountinfo")) == arrives


@pytest.mark.proves("root.readonly")
def test_a_read_only_root(container, bundle):
    bundle.config["root"]["readonly"] = True

    assert container.sh("touch /x 2>&1 || touch /dev/x && echo dev") == "touch: /x: Read-only file system\ndev"
    assert "ro" in Mounts(container).attributes("/")


@pytest.mark.differs("crun", "1.8 follows it")
def test_a_root_that_is_a_symlink_is_refused(container, bundle):
    (bundle.path / "link").symlink_to("rootfs")
    bundle.config["root"]["path"] = "link"

    assert "invalid rootfs" in container.run_fails("true")


@pytest.mark.proves("root.path")
@pytest.mark.parametrize("path", ["rootfs", "absolute", "../bundle0/rootfs"])
def test_the_root_is_the_configs_relative_to_the_bundle(container, bundle, path):
    bundle.config["root"]["path"] = str(bundle.rootfs) if path == "absolute" else path
    (bundle.rootfs / "mine").touch()
    container.sleeping()

    assert "mine" in container.exec("ls", "/").split()
    assert os.path.samefile(f"/proc/{container.pid()}/root", bundle.rootfs)


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
    bundle.mount("/mnt", "overlay", "overlay", f"lowerdir={':'.join(lower)}", "nosuid", "noatime", "private")

    assert len(container.run("ls", "/mnt").split()) == 40
    assert Mounts(container).attributes("/mnt") >= {"nosuid", "noatime"}


@pytest.mark.proves("mounts[].options=remount")
def test_remount_changes_the_mount_that_is_there(container, bundle):
    bundle.mount("/tmp", "tmpfs", "tmpfs", "nosuid", "size=1m")
    bundle.mount("/tmp", "tmpfs", "tmpfs", "remount", "ro", "nosuid", "size=2m")
    mounts = Mounts(container)

    assert [side.count(" /tmp ") for side in mounts.sides] == [1, 1]
    assert {"ro", "nosuid"} <= mounts.attributes("/tmp")
    assert "size=2048k" in mounts.superblock("/tmp")


def test_remount_takes_options_of_the_file_system_back(container, bundle):
    bundle.mount("/tmp", "tmpfs", "tmpfs", "sync", "lazytime", "mand")
    bundle.mount("/tmp", "tmpfs", "tmpfs", "remount", "async", "nolazytime", "nomand", "dirsync")

    assert not Mounts(container).superblock("/tmp") & {"sync", "lazytime", "mand"}


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


@pytest.mark.proves("mounts[].destination: relative")
def test_a_relative_destination_is_taken_from_the_root(container, bundle, source):
    bundle.mount("mnt/relative", "bind", source)

    assert "/mnt/relative" in Mounts(container).paths()


@pytest.mark.proves("mounts[].options=tmpcopyup")
@pytest.mark.parametrize("options", [[], ["ro"], pytest.param(["silent"], marks=pytest.mark.only_pyrun("not both"))])
def test_a_tmpfs_begins_with_what_it_covers(container, bundle, options):
    """Also where mount(2) makes it."""
    (bundle.rootfs / "data").mkdir()
    (bundle.rootfs / "data/file").write_text("of the image")
    (bundle.rootfs / "data/file").chmod(0o646)
    os.chown(bundle.rootfs / "data/file", 7, 8)
    bundle.mount("/data", "tmpfs", "tmpfs", "tmpcopyup", *options)
    container.sleeping()
    copy = Path(f"/proc/{container.pid()}/root/data/file")

    assert container.exec("stat", "-c", "%a %u %g", "/data/file") == "646 7 8\n"
    assert copy.read_text() == "of the image"
    assert copy.stat().st_dev != (bundle.rootfs / "data/file").stat().st_dev
    written = container.call("exec", container.id, "sh", "-c", "echo changed >/data/file")
    assert (written.returncode == 0) == (options != ["ro"])
    assert (bundle.rootfs / "data/file").read_text() == "of the image"


@pytest.mark.differs("crun", "1.8 keeps the clock alone")
def test_a_bind_that_names_no_attribute_keeps_those_of_its_source(container, bundle, mounted):
    bundle.mount(
        "/mnt", "bind", mounted(",".join(RESTRICTED)), "rprivate", "defaults" if container.name == "pyrun" else "rbind"
    )

    assert Mounts(container).attributes("/mnt") >= RESTRICTED


@pytest.mark.parametrize("remount", [False, True])
def test_a_bind_that_names_an_attribute_has_no_others_but_the_clock_of_its_source(container, bundle, mounted, remount):
    place = mounted("nosuid,nodev,noexec,noatime")
    bundle.mount("/mnt", "bind", place, *(() if remount else ("ro",)))
    if remount:
        bundle.mount("/mnt", "bind", place, "remount", "ro")
    attributes = Mounts(container).attributes("/mnt")

    assert {"ro", "noatime"} <= attributes
    assert not {"nosuid", "nodev", "noexec"} & attributes


def test_a_clock_that_a_bind_names_takes_the_place_of_its_sources(container, bundle, mounted):
    bundle.mount("/mnt", "bind", mounted("noatime"), "nosuid", "relatime")

    assert {"nosuid", "relatime"} <= Mounts(container).attributes("/mnt")


@pytest.mark.needs("namespace user")
@pytest.mark.differs("runc", "1.1 fails")
@pytest.mark.differs("crun", "1.8 opens it in the mount namespace of the host, where nothing is locked")
def test_attributes_that_a_user_namespace_locks_are_kept(container, bundle, mounted):
    bundle.user_namespace()
    bundle.mount("/mnt", "bind", mounted("nosuid,nodev,noexec"), "ro")

    assert {"ro", "nosuid", "nodev", "noexec"} <= Mounts(container).attributes("/mnt")


@pytest.mark.needs("namespace user")
@pytest.mark.only_pyrun("runc and crun keep it in silence")
@pytest.mark.parametrize("option, held", [("exec", "noexec"), ("rexec", "noexec"), ("relatime", "noatime")])
def test_an_attribute_that_a_user_namespace_locks_cannot_be_taken_back(container, bundle, mounted, option, held):
    bundle.user_namespace()
    bundle.mount("/mnt", "bind", mounted(held), option)
    message = container.run_fails("true")

    assert 'to rootfs at "/mnt"' in message
    assert f"{option}: Operation not permitted: a user namespace locks what the host has mounted" in message


@pytest.mark.parametrize("destination", ["/", "/tmp/..", "//"])
def test_nothing_is_mounted_at_the_root(container, bundle, source, destination):
    bundle.mount(destination, "bind", source)

    assert "destination" in container.run_fails("true") or container.name != "pyrun"


def test_a_source_in_the_root_file_system_is_what_is_mounted_there_by_then(container, bundle, source):
    bundle.mount("/first", "bind", source)
    bundle.mount("/second", "bind", bundle.rootfs / "first")

    assert container.sh("cat /second/file") == "of the host"


@pytest.mark.only_pyrun("the wording")
def test_nothing_is_mounted_at_a_symlink_to_the_root(container, bundle, source):
    (bundle.rootfs / "link").symlink_to("/")
    bundle.mount("/link", "bind", source)

    assert "root" in container.run_fails("ls")


@pytest.mark.parametrize("user_namespace", [False, pytest.param(True, marks=pytest.mark.needs("namespace user"))])
@pytest.mark.parametrize(
    "destination, of_a_file",
    [("/etc", True), ("/bin/busybox", False), ("/link", True)],
    ids=["file", "directory", "link"],
)
def test_a_file_over_a_directory_and_a_directory_over_a_file_are_told(
    container, bundle, source, destination, of_a_file, user_namespace
):
    """In words that docker looks for: it then asks whether a directory was to be mounted onto a file."""
    (bundle.rootfs / "link").symlink_to("etc")
    if user_namespace:
        bundle.user_namespace()
    bundle.mount(destination, "bind", source / "file" if of_a_file else source)

    assert "not a directory" in container.run_fails("true").lower()


def test_an_option_of_a_file_system_is_ignored_for_a_bind(container, bundle, source):
    bundle.mount("/mnt", "bind", source, "mode=755", "size=1m")
    bundle.process["args"] = ["cat", "/mnt/file"]
    result = container.call("run", "--bundle", bundle.path, container.id)

    assert result.stdout == "of the host"
    if container.name == "pyrun":
        ignored = 'config.json: mounts[3].options: a bind mount takes no option "mode=755", "size=1m": ignored'
        assert ignored in result.stderr
        assert f"warning: {ignored}" in container.works("validate", "--bundle", bundle.path)


@pytest.mark.needs("namespace user")
@pytest.mark.differs("runc", "1.1 fails")
@pytest.mark.parametrize("cgroups", [False, True])
def test_sysfs_is_the_hosts_with_a_user_namespace_and_the_hosts_network(container, bundle, cgroups):
    bundle.user_namespace()
    bundle.without_namespace("network")
    bundle.mount("/sys", "sysfs", "sysfs", "nosuid", "noexec", "nodev", "ro")
    if cgroups and container.name == "pyrun":
        bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "ro")
    before = set(os.listdir("/sys/class/net"))
    inside = container.look("ls /sys/class/net; echo -; ls /sys/fs/cgroup | head -1")

    # Other tests make interfaces, and remove them, meanwhile.
    assert before & set(os.listdir("/sys/class/net")) <= set(inside.partition("-")[0].split())
    if container.name == "pyrun":
        assert bool(inside.partition("-")[2].strip()) == cgroups
        (line, *_) = [line for line in container.proc("mountinfo").splitlines() if " /sys " in line]
        assert {"ro", "nosuid", "nodev", "noexec"} <= set(line.split()[5].split(","))


@pytest.mark.proves("mounts[].options=dest-nofollow")
@pytest.mark.only_pyrun("of crun newer than 1.8")
def test_dest_nofollow_mounts_on_the_symlink_itself(container, bundle, source):
    (bundle.rootfs / "link").symlink_to("etc/target")
    (bundle.rootfs / "etc/target").write_text("of the image")
    bundle.mount("/link", "bind", source / "file", "dest-nofollow")

    assert container.sh("cat /link /etc/target") == "of the hostof the image"
    assert os.readlink(bundle.rootfs / "link") == "etc/target"


def test_a_destination_may_be_as_long_as_a_path(container, bundle):
    destination = "/" + "a/" * 1900 + "b"
    bundle.mount(destination, "tmpfs", "tmpfs")
    container.sleeping()
    mounted = container.proc("mountinfo")
    container.delete("--force")
    subprocess.run(["rm", "-r", bundle.rootfs / "a"], check=True)  # too deep for who removes the temporary files

    assert f" {destination} " in mounted


@pytest.mark.differs("runc", "1.1 leaves both out")
@pytest.mark.differs("crun", "1.8 leaves both out")
def test_a_cgroup_mount_takes_recursive_options_and_a_propagation(container, bundle):
    bundle.mount("/sys/fs/cgroup", "cgroup", "cgroup", "rnosuid", "rro", "rshared")
    mounts = Mounts(container)

    for path in [path for path in mounts.paths() if path.startswith("/sys/fs/cgroup")]:
        assert {"ro", "nosuid", "shared"} <= mounts.attributes(path)


def test_a_tmpfs_begins_with_a_tree_of_any_depth(container, bundle):
    depth = 900
    subprocess.run(["mkdir", "-p", bundle.rootfs / "data" / "/".join("d" * depth)], check=True)
    (bundle.rootfs / "data/d").chmod(0o750)
    bundle.mount("/data", "tmpfs", "tmpfs", "tmpcopyup")
    script = "cd /data; stat -c %a d; find . -type d | wc -l"

    assert container.sh(script).split() == ["750", str(depth + 1)]
    subprocess.run(["rm", "-r", bundle.rootfs / "data"], check=True)  # too deep for who removes the temporary files


def test_an_empty_option_is_none(container, bundle):
    bundle.mount("/tmp", "tmpfs", "tmpfs", "", "nosuid")

    assert "nosuid" in container.sh("grep ' /tmp tmpfs ' /proc/mounts")
