"""R33: a caller or a machine that lacks what pyrun asks for. The fallbacks are as safe as what they replace.

An outer seccomp filter answers a call with EPERM, as one that forbids it, or with ENOSYS, as one that does not know it.
In crun the fallback for openat2(2) followed a symlink of the image.
"""

import os
import subprocess
import sys

import pytest
from hostile import make_symlink

CALLS = {
    "clone3": 435,
    "openat2": 437,
    "mount_setattr": 442,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "pidfd_open": 434,
    "close_range": 436,
    "memfd_create": {"x86_64": 319, "aarch64": 279},
}
ASKED_FIRST = ("clone3", "openat2", "mount_setattr")
FAULTS = [(call, "ENOSYS") for call in CALLS] + [(call, "EPERM") for call in (*ASKED_FIRST, "memfd_create")]
FALLBACKS = {"close_range", "memfd_create"}  # without them a container can be made
FILTER = """
import ctypes, os, struct, sys
number, error = map(int, sys.argv[1:3])
load, compare = (0x20, 0, 0, 0), (0x15, 0, 1, number)
refuse, allow = (6, 0, 0, 0x50000 | error), (6, 0, 0, 0x7FFF << 16)
code = ctypes.create_string_buffer(struct.pack("<" + 4 * "HBBI", *load, *compare, *refuse, *allow))
assert ctypes.CDLL(None).prctl(22, 2, struct.pack("@HP", 4, ctypes.addressof(code))) == 0  # PR_SET_SECCOMP
os.execv(sys.argv[3], sys.argv[3:])
"""


def filtered(call, error):
    """Return what a command is called by, so that the call fails with `error`."""
    number = CALLS[call] if isinstance(CALLS[call], int) else CALLS[call][os.uname().machine]
    return [sys.executable, "-ISc", FILTER, str(number), str(error)]


def lay_traps(bundle, victim):
    """Have an image whose /dev, mount points, masks and working directory lead to the victim."""
    bundle.without_mount("/dev", "/dev/shm", "/dev/mqueue")
    bundle.linux["devices"] = [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 5}]
    bundle.mount("/link/new", "tmpfs", "tmpfs")
    bundle.linux["maskedPaths"] = ["/link/secret"]
    bundle.process["cwd"] = "/link/made"
    for name in ("dev", "link"):
        make_symlink(bundle.rootfs / name, victim.path)


def assert_ran_or_says_why(result):
    assert (result.returncode, result.stdout) == (0, "ran\n") or (
        result.returncode in (1, 255) and result.stderr.count("\n") == 1
    ), result


@pytest.mark.parametrize("call, error", FAULTS)
def test_under_a_filter_of_the_caller_an_image_leads_nowhere(bundle, make_bundle, machine, host, call, error):
    machine.prefix = filtered(call, {"EPERM": 1, "ENOSYS": 38}[error])
    honest = machine.run(make_bundle(), "echo ran")
    lay_traps(bundle, host)
    trapped = machine.run(bundle, "echo ran; cat secret */secret 2>/dev/null; true")

    assert_ran_or_says_why(honest)
    assert_ran_or_says_why(trapped)
    if call in FALLBACKS and error == "ENOSYS":
        assert (honest.stdout, honest.stderr) == ("ran\n", "")
    assert host.is_untouched()
    machine.prefix = []
    for id_ in os.listdir(machine.root) if os.path.isdir(machine.root) else ():
        assert call == "pidfd_open"  # without which a container that has ended cannot be told from one that lives
        assert machine.pyrun("delete", id_).returncode == 0


@pytest.mark.parametrize("call, error", FAULTS)
def test_under_a_filter_of_the_caller_exec_leads_nowhere(bundle, machine, host, call, error):
    id_ = machine.start(bundle)
    make_symlink(bundle.rootfs / "link", host.path)
    machine.prefix = filtered(call, {"EPERM": 1, "ENOSYS": 38}[error])
    result = machine.exec(id_, "/bin/sh", "-c", "cat secret 2>/dev/null; echo ran", options=("--cwd", "/link/new"))
    machine.prefix = []

    assert_ran_or_says_why(result)
    assert host.is_untouched()


def in_own_mounts(script):
    return ["unshare", "--mount", "sh", "-ec", f'{script}; exec "$@"', "sh"]


PLACES = {
    "a user namespace in which it is root": [
        *"unshare --user --map-root-user --mount --pid --fork --mount-proc".split()
    ],
    "hidden processes": in_own_mounts("mount -t proc -o hidepid=2 proc /proc"),
    "no procfs": in_own_mounts("mount -t tmpfs none /proc"),
    "cgroups that are read-only": in_own_mounts(
        "for one in /sys/fs/cgroup/*/ /sys/fs/cgroup; do mount -o remount,bind,ro $one; done 2>/dev/null || true"
    ),
    "no cgroups": in_own_mounts("mount -t tmpfs none /sys/fs/cgroup"),
    "a /tmp without programs": in_own_mounts(
        "mount --bind /var/tmp /var/tmp; mount -o remount,bind,noexec /var/tmp; export TMPDIR=/var/tmp"
    ),
    "a network of its own": ["unshare", "--net"],
}
RUNS = {"hidden processes", "a /tmp without programs", "a network of its own"}


@pytest.mark.parametrize("place", PLACES)
def test_in_a_poor_place_an_image_leads_nowhere(bundle, make_bundle, machine, host, place):
    machine.prefix = PLACES[place]
    other = make_bundle()
    for one in (bundle, other):
        if "user namespace" in place:
            one.linux.pop("resources", None)
            for mount in one.config["mounts"]:
                mount["options"] = [option for option in mount.get("options", ()) if option != "gid=5"]
    honest = machine.run(other, "echo ran")
    lay_traps(bundle, host)
    trapped = machine.run(bundle, "echo ran; cat secret */secret 2>/dev/null; true")
    machine.prefix = []

    assert_ran_or_says_why(honest)
    assert_ran_or_says_why(trapped)
    if place in RUNS:
        assert honest.stdout == "ran\n", honest
    assert host.is_untouched()
    assert not os.path.isdir(machine.root) or os.listdir(machine.root) == []


def test_without_the_helpers_of_subordinate_ids_an_ordinary_user_is_told(bundle, machine, directory):
    home = directory / "home"
    home.mkdir()
    os.chown(home, 65534, 65534)
    bundle.user_namespace()
    bundle.save()
    user = ["/usr/bin/setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all"]
    program = directory / "pyrun"
    program.write_bytes(open(machine.program, "rb").read())
    program.chmod(0o755)
    command = [
        *user,
        str(program),
        "--root",
        str(home / "state"),
        "run",
        "--bundle",
        str(bundle.path),
        machine.new_id(),
    ]
    result = subprocess.run(command, capture_output=True, text=True, env={"PATH": "/nowhere"}, stdin=subprocess.DEVNULL)

    assert result.returncode == 1
    assert "newuidmap" in result.stderr and result.stderr.count("\n") == 1
    assert not os.listdir(home / "state")


def test_a_state_directory_that_is_read_only_is_told(bundle, machine, host):
    """R30."""
    os.makedirs(machine.root)
    machine.prefix = in_own_mounts(
        f"mount --bind {machine.root} {machine.root}; mount -o remount,bind,ro {machine.root}"
    )
    result = machine.run(bundle, "echo ran")
    machine.prefix = []

    assert (result.returncode, result.stdout) == (1, "")
    assert "Read-only file system" in result.stderr and result.stderr.count("\n") == 1
