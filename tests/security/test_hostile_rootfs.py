"""Root file systems made to lead the runtime elsewhere: /proc, /sys, /dev, the terminal, mount points, masks.

CVE-2019-16884, CVE-2019-19921, CVE-2021-30465, CVE-2023-27561, CVE-2025-31133, CVE-2025-52565, CVE-2026-41579.
"""

import os
import pty
import socket
import stat
import subprocess
import threading

import pytest
from hostile import make_symlink

pytestmark = pytest.mark.usefixtures("host_mounts")


@pytest.mark.parametrize("mount_point", ["proc", "sys"])
@pytest.mark.parametrize("target", ["{victim}", "../victim", "/elsewhere", "elsewhere", "missing", "/proc/self/root"])
def test_procfs_and_sysfs_are_not_mounted_on_a_symlink(bundle, machine, victim, mount_point, target):
    (bundle.rootfs / "elsewhere").mkdir()
    make_symlink(bundle.rootfs / mount_point, target.format(victim=victim.path))

    result = machine.run(bundle, "echo ran")

    assert result.returncode == 1
    assert "must be mounted on ordinary directory" in result.stderr
    assert victim.is_untouched()


@pytest.mark.parametrize("mount_point", ["proc", "sys"])
def test_procfs_and_sysfs_are_not_mounted_on_a_file(bundle, machine, mount_point):
    (bundle.rootfs / mount_point).write_text("")

    result = machine.run(bundle, "echo ran")

    assert result.returncode == 1
    assert "must be mounted on ordinary directory" in result.stderr


@pytest.mark.parametrize("type_", ["tmpfs", "bind"])
@pytest.mark.parametrize("where", ["/proc", "/proc/self", "/proc/sys", "/proc/self/attr", "/proc/../proc/sys"])
def test_nothing_is_mounted_over_procfs(bundle, machine, victim, type_, where):
    options = ["bind"] if type_ == "bind" else []
    bundle.config["mounts"].append(
        {"destination": where, "type": type_, "source": str(victim.path), "options": options}
    )

    result = machine.run(bundle, "echo ran")

    assert result.returncode == 1
    assert "/proc" in result.stderr
    assert result.stdout == ""


@pytest.mark.parametrize("target", ["/proc", "proc/self", "/proc/sys", "../../proc/sys/kernel", "chain"])
def test_a_volume_is_not_mounted_over_procfs_through_a_symlink_of_the_image(bundle, machine, victim, target):
    make_symlink(bundle.rootfs / "data", target)
    make_symlink(bundle.rootfs / "chain", "/proc")
    bundle.config["mounts"].append({"destination": "/data", "source": str(victim.path), "options": ["rbind"]})

    result = machine.run(bundle, "echo ran")

    assert result.returncode == 1
    assert "inside /proc" in result.stderr
    assert victim.is_untouched()


def test_a_file_of_procfs_that_lxcfs_replaces_may_be_mounted_over(bundle, machine, victim):
    bundle.config["mounts"].append(
        {"destination": "/proc/uptime", "source": str(victim.path / "secret"), "options": ["bind", "ro"]}
    )

    result = machine.run(bundle, "cat /proc/uptime")

    assert result.stdout == "the host's secret", result.stderr


DEVICES = [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 5, "fileMode": 438, "uid": 0, "gid": 0}]


@pytest.mark.peers
@pytest.mark.falls("runc", "to CVE-2026-41579")
@pytest.mark.falls("crun", "to CVE-2026-47766")
@pytest.mark.parametrize("target", ["{victim}", "../../victim", "../../../../../../..{victim}"])
def test_a_dev_that_is_a_symlink_leads_nowhere_outside(bundle, machine, victim, target):
    bundle.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    bundle.config["linux"]["devices"] = DEVICES
    make_symlink(bundle.rootfs / "dev", target.format(victim=victim.path))

    machine.run(bundle, "echo ran")

    assert victim.is_untouched()


@pytest.mark.peers
@pytest.mark.parametrize("name", ["ptmx", "null", "fd", "stdin", "extra", "console", "pts", "shm"])
def test_a_name_in_dev_that_is_a_symlink_leads_nowhere_outside(bundle, machine, victim, name):
    bundle.without_mount("/dev")
    bundle.config["linux"]["devices"] = DEVICES
    make_symlink(bundle.rootfs / "dev" / name, victim.path / name)

    machine.run(bundle, "echo ran")

    assert victim.is_untouched()


@pytest.mark.parametrize("kind", ["symlink", "inside", "fifo", "zero", "file", "directory"])
def test_a_device_that_the_image_has_replaced_is_refused(bundle, machine, kind):
    bundle.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    null = bundle.rootfs / "dev/null"
    null.parent.mkdir()
    {
        "symlink": lambda: os.symlink("/proc/sysrq-trigger", null),
        "inside": lambda: os.symlink("/etc/passwd", null),
        "fifo": lambda: os.mkfifo(null),
        "zero": lambda: os.mknod(null, stat.S_IFCHR | 0o666, os.makedev(1, 5)),
        "file": lambda: null.write_text(""),
        "directory": null.mkdir,
    }[kind]()

    result = machine.run(bundle, "echo ran")

    assert result.returncode == 1
    assert "/dev/null: exists in the root file system and is another file" in result.stderr
    assert result.stdout == ""


def test_a_masked_path_is_masked_by_the_null_device_whatever_the_image_has_there(bundle, machine):
    bundle.without_mount("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")
    bundle.config["linux"]["maskedPaths"] = ["/secret", "/link", "/proc/version", "/sys/kernel"]
    (bundle.rootfs / "secret").write_text("secret")
    make_symlink(bundle.rootfs / "link", "secret")
    (bundle.rootfs / "secret").chmod(0o777)

    result = machine.run(bundle, "cat /secret; stat -c %t:%T /secret /proc/version; ls -A /sys/kernel")

    assert result.stdout == "1:3\n1:3\n", result.stderr


def test_masks_and_read_only_paths_that_are_symlinks_stay_inside(bundle, machine, victim):
    bundle.config["linux"]["maskedPaths"] = ["/mask"]
    bundle.config["linux"]["readonlyPaths"] = ["/lock"]
    for name in ("mask", "lock"):
        make_symlink(bundle.rootfs / name, victim.path)

    machine.run(bundle, "echo ran")

    assert victim.is_untouched()
    with open("/proc/self/mountinfo") as file:
        assert str(victim.path) not in file.read()


@pytest.mark.parametrize("path", ["dev/console", "dev/pts", "dev/ptmx", "dev/pts/ptmx"])
def test_a_terminal_leads_nowhere_outside(bundle, machine, victim, path):
    bundle.without_mount("/dev", "/dev/pts" if path.startswith("dev/pts") else "")
    bundle.config["process"]["terminal"] = True
    make_symlink(bundle.rootfs / path, victim.path / os.path.basename(path))
    master, slave = pty.openpty()

    machine.run(bundle, "echo ran", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.close(master)

    assert victim.is_untouched()


def test_the_console_is_a_pseudo_terminal_of_the_container(bundle, machine):
    bundle.config["process"]["terminal"] = True
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(bundle.path / "socket"))
    listener.listen()
    masters = []

    def receive():
        connection, _ = listener.accept()
        masters.extend(socket.recv_fds(connection, 100, 1)[1])

    receiver = threading.Thread(target=receive, daemon=True)
    receiver.start()
    bundle.config["process"]["args"] = ["/bin/stat", "-c", "%t:%T %F", "/dev/console"]
    bundle.save()
    id_ = machine.new_id()
    machine.pyrun("create", "--bundle", bundle.path, "--console-socket", bundle.path / "socket", id_)
    machine.pyrun("start", id_)
    receiver.join()

    assert os.read(masters[0], 100).decode().strip() == "88:0 character special file"


@pytest.mark.parametrize(
    "destination",
    ["/a/../../victim", "/link/x", "/link", "/dangling/x", "/dangling", "/dots", "../../victim", "//link//y"],
)
@pytest.mark.parametrize("source", ["directory", "file"])
def test_a_mount_point_is_made_inside_whatever_the_path(bundle, machine, victim, destination, source):
    make_symlink(bundle.rootfs / "link", victim.path)
    make_symlink(bundle.rootfs / "dangling", victim.path / "not/there")
    make_symlink(bundle.rootfs / "dots", "../../../../../../../../victim")
    given = bundle.path / "given"
    given.mkdir() if source == "directory" else given.write_text("")
    bundle.config["mounts"].append({"destination": destination, "source": str(given), "options": ["bind"]})

    machine.run(bundle, "echo ran")

    assert victim.is_untouched()


@pytest.mark.parametrize(
    "destination",
    ["", "/bin/busybox/x", "/" + "a/" * 2047, "/" + "a/" * 2100, "/" + "a" * 300, "/loop", "/loop/x", "/fifo/x"],
)
def test_an_impossible_mount_point_is_refused(bundle, machine, destination):
    make_symlink(bundle.rootfs / "loop", "loop")
    os.mkfifo(bundle.rootfs / "fifo")
    bundle.config["mounts"].append({"destination": destination, "type": "tmpfs", "source": "tmpfs"})

    result = machine.run(bundle, "echo ran")
    subprocess.run(["rm", "-rf", bundle.rootfs / "a"], check=True)  # which can be too deep for shutil.rmtree()

    assert result.returncode == 1
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.peers
@pytest.mark.parametrize("cwd", [f"/proc/self/fd/{fd}" for fd in range(3, 16)] + ["/proc/1/root/..", "/cwd", "/up"])
def test_no_working_directory_is_outside(bundle, machine, cwd):
    make_symlink(bundle.rootfs / "cwd", "/proc/self/fd/7")
    make_symlink(bundle.rootfs / "up", "../../../../../..")
    (bundle.rootfs / "here").write_text("")
    bundle.config["process"]["cwd"] = cwd

    result = machine.run(bundle, "readlink /proc/self/cwd; ls -d here")

    if result.returncode == 0:
        assert result.stdout.splitlines()[0].startswith("/")
        assert result.stdout.splitlines()[1] == "here"
    else:
        assert (result.returncode, result.stdout) == (1, "")


@pytest.mark.peers
def test_exec_starts_in_no_directory_outside(bundle, machine):
    make_symlink(bundle.rootfs / "cwd", "/proc/self/fd/7")
    bundle.without_namespace("pid")  # where /proc/self is the joining process itself
    id_ = machine.start(bundle)
    inside = {"/", "/proc/self"}

    for cwd in [f"/proc/self/fd/{fd}" for fd in range(3, 20)] + [
        "/cwd",
        "/proc/self/cwd",
        "/proc/self/root",
        "/proc/1/root/etc",
    ]:
        result = machine.exec(id_, "sh", "-c", "readlink /proc/self/cwd", options=("--cwd", cwd))
        if result.returncode == 0:
            assert result.stdout.strip() in inside, cwd
        else:
            assert result.returncode == 255, cwd
