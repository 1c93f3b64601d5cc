"""linux.devices and the devices that every container has, seen from inside and, below /proc/PID/root, from the host."""

import os
import shlex
import stat
import subprocess

import pytest
from harness import TIMEOUT

pytestmark = pytest.mark.needs("root", "/bin/busybox")

TYPES = {"c": stat.S_IFCHR, "u": stat.S_IFCHR, "b": stat.S_IFBLK, "p": stat.S_IFIFO}
DEFAULT = {"null": (1, 3), "zero": (1, 5), "full": (1, 7), "random": (1, 8), "urandom": (1, 9), "tty": (5, 0)}
LINKS = {
    "fd": "/proc/self/fd",
    "stdin": "/proc/self/fd/0",
    "stdout": "/proc/self/fd/1",
    "stderr": "/proc/self/fd/2",
    "ptmx": "pts/ptmx",
}


def seen_from_the_host(container, path):
    return os.lstat(f"/proc/{container.pid()}/root{path}")


def number(device):
    return f"{os.major(device):x}:{os.minor(device):x}"  # as busybox's stat has it


@pytest.mark.proves("linux.devices: the default ones")
def test_the_default_devices_are_there(container):
    inside = container.look(f"cd /dev; stat -c '%n %F %a %u:%g %t:%T' {' '.join(DEFAULT)}")
    found = {name: seen_from_the_host(container, f"/dev/{name}") for name in DEFAULT}

    assert inside.splitlines() == [
        f"{name} character special file 666 0:0 {major:x}:{minor:x}" for name, (major, minor) in DEFAULT.items()
    ]
    assert {name: (os.major(one.st_rdev), os.minor(one.st_rdev)) for name, one in found.items()} == DEFAULT
    assert {one.st_mode for one in found.values()} == {stat.S_IFCHR | 0o666}


@pytest.mark.proves("linux.devices: the default ones")
def test_the_default_links_are_there(container):
    inside = container.look(f"cd /dev; for one in {' '.join(LINKS)}; do readlink $one; done")

    assert dict(zip(LINKS, inside.split())) == LINKS
    assert {name: os.readlink(f"/proc/{container.pid()}/root/dev/{name}") for name in LINKS} == LINKS


def test_the_devices_work_and_no_others(container):
    script = "head -c 3 /dev/zero | od -An -tx1; echo x > /dev/null; echo x > /dev/full || echo full"

    output = container.sh(f"{{ {script}; head -c4 /dev/urandom | wc -c; }} 2>/dev/null")
    assert output.split() == ["00", "00", "00", "full", "4"]


@pytest.mark.proves(
    *(f"linux.devices[].{name}" for name in ("path", "type", "major", "minor", "fileMode", "uid", "gid"))
)
@pytest.mark.parametrize("type_", TYPES)
def test_a_device_of_the_config_is_made(container, bundle, type_):
    # Engines write the mode as stat(2) has it: with the type.
    device = {"path": "/dev/sub/mine", "type": type_, "fileMode": TYPES[type_] | 0o640, "uid": 7, "gid": 8}
    if type_ != "p":
        device |= {"major": 7, "minor": 200}
    bundle.linux["devices"] = [device]
    inside = container.look("stat -c '%F,%a,%u,%g,%t:%T' /dev/sub/mine")
    found = seen_from_the_host(container, "/dev/sub/mine")

    name = {"p": "fifo", "b": "block special file"}.get(type_, "character special file")
    assert inside == f"{name},640,7,8,{number(os.makedev(7, 200) if type_ != 'p' else 0)}"
    assert found.st_mode == TYPES[type_] | 0o640
    assert (found.st_uid, found.st_gid) == (7, 8)
    assert found.st_rdev == (os.makedev(7, 200) if type_ != "p" else 0)


@pytest.mark.proves("linux.devices[].fileMode")
def test_a_device_without_a_mode_is_for_everybody(container, bundle):
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]

    assert container.look("stat -c %a /dev/mine") == "666"
    assert seen_from_the_host(container, "/dev/mine").st_mode == stat.S_IFCHR | 0o666


@pytest.mark.differs("runc", "it needs a rule of its own then")
@pytest.mark.differs("crun", "its owner stays root")
def test_a_device_takes_the_place_of_a_default_one(container, bundle):
    bundle.linux["devices"] = [{"path": "/dev/null", "type": "c", "major": 1, "minor": 3, "fileMode": 0o600, "uid": 5}]

    assert container.look("stat -c '%a %u' /dev/null") == "600 5"
    assert seen_from_the_host(container, "/dev/null").st_uid == 5


@pytest.mark.differs("runc", "it leaves the file and makes no device")
@pytest.mark.differs("crun", "it leaves the file and makes no device")
def test_another_file_at_the_path_of_a_device_is_an_error(container, bundle):
    """config-linux.md#devices: "If a file already exists at path that does not match the requested device"."""
    (bundle.rootfs / "mine").write_text("something else")
    bundle.linux["devices"] = [{"path": "/mine", "type": "c", "major": 1, "minor": 3}]

    container.run_fails("true")
    assert (bundle.rootfs / "mine").read_text() == "something else"


def test_dev_of_the_host_gets_no_new_devices(container, bundle):
    before = sorted(os.listdir("/dev"))
    bundle.config["mounts"] = [one for one in bundle.config["mounts"] if not one["destination"].startswith("/dev")]
    bundle.mount("/dev", "bind", "/dev", "rbind", "ro")
    container.run("true", timeout=TIMEOUT)

    assert sorted(os.listdir("/dev")) == before


DEFAULT_OVER_IT = [("runc", "it binds the default device over it"), ("crun", "it binds the default device over it")]


@pytest.mark.parametrize("name", ["random", "null"])
@pytest.mark.parametrize(
    "user_namespace", [False, pytest.param(True, marks=[pytest.mark.differs(*one) for one in DEFAULT_OVER_IT])]
)
def test_a_device_that_is_bound_over_a_default_one_stays(container, bundle, name, user_namespace):
    if user_namespace:
        bundle.user_namespace()
    bundle.mount(f"/dev/{name}", "bind", "/dev/urandom")

    assert container.look(f"stat -c %t:%T /dev/{name}") == "1:9"
    assert os.stat(f"/proc/{container.pid()}/root/dev/{name}").st_rdev == os.makedev(1, 9)


def test_a_file_that_is_bound_over_a_default_device_or_link_stays(container, bundle, tmp_path):
    (tmp_path / "file").write_text("mine")
    for name in ("zero", "stdin", "fd", "core"):
        bundle.mount(f"/dev/{name}", "bind", tmp_path / "file")

    assert container.sh("cat /dev/zero /dev/stdin /dev/fd /dev/core") == "mine" * 4


@pytest.mark.only_pyrun("runc 1.1 fails, crun 1.8 covers it")
def test_what_is_bound_over_ptmx_and_over_a_device_of_the_config_stays(container, bundle, tmp_path):
    (tmp_path / "file").write_text("mine")
    bundle.linux["devices"] = [{"path": "/dev/mine", "type": "c", "major": 1, "minor": 3}]
    for name in ("ptmx", "mine"):
        bundle.mount(f"/dev/{name}", "bind", tmp_path / "file")

    assert container.sh("cat /dev/ptmx /dev/mine") == "mine" * 2


@pytest.mark.only_pyrun("runc and crun bind the terminal over it")
def test_what_is_bound_over_the_console_stays(container, bundle, tmp_path):
    (tmp_path / "file").write_text("mine")
    bundle.mount("/dev/console", "bind", tmp_path / "file")
    bundle.process["terminal"] = True
    bundle.process["args"] = ["sh", "-c", "cat /dev/console; tty"]
    bundle.save()
    command = container.command("run", "--bundle", bundle.path, container.id)
    result = subprocess.run(["script", "-qec", shlex.join(command), "/dev/null"], capture_output=True, timeout=TIMEOUT)

    assert result.stdout.split() == [b"mine/dev/pts/0"]


@pytest.mark.only_pyrun("has no explain")
def test_explain_does_not_list_a_device_that_is_not_made(container, bundle):
    bundle.mount("/dev/random", "bind", "/dev/urandom")
    bundle.mount("/dev/stdin", "bind", "/dev/null")
    bundle.save()
    told = container.works("explain", "--bundle", bundle.path).split("make devices")[1].split("\n\n")[0]

    assert "/dev/urandom c" in told
    assert "/dev/random" not in told
    assert "/dev/stdin" not in told
