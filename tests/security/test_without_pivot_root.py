"""--no-pivot: below a root that was moved there, nothing of the host may stay mounted.

MS_MOVE leaves the host's procfs in the mount namespace, which lets a process in a user namespace mount one without
masks; runc covers it in msMoveRoot(), crun in move_root().
"""

import subprocess
import sys

import pytest
from harness import wait_until

pytestmark = pytest.mark.usefixtures("host_mounts")

# Which is what the kernel lets it do if any procfs or sysfs of its mount namespace is to be seen whole.
UNSHARE = "unshare --user --map-root-user --mount --pid --net --fork"


@pytest.fixture
def unmasked(bundle):
    """The bundle with a user who has no privileges, and a procfs and a sysfs with masks."""
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    bundle.config["linux"]["maskedPaths"] = ["/proc/sys", "/sys/kernel"]
    bundle.config["linux"].pop("seccomp", None)
    (bundle.rootfs / "mnt").mkdir()
    return bundle


@pytest.fixture
def mount_of_the_host(directory):
    """Mount file systems on the host, below names that mountinfo has to escape."""
    mounted = []

    def mount(type_, below=""):
        mounted.append(directory / below / f"a {type_}")
        mounted[-1].mkdir(parents=True)
        subprocess.run(["mount", "-t", type_, type_, mounted[-1]], check=True)
        return mounted[-1]

    yield mount
    for path in mounted:
        subprocess.run(["umount", path], check=True)


def run_without_pivot(machine, bundle, script):
    bundle.config["process"]["args"] = ["/bin/sh", "-c", script]
    bundle.save()
    return machine.pyrun("run", "--no-pivot", "--bundle", bundle.path, machine.new_id())


@pytest.mark.parametrize("user_namespace", [False, True])
@pytest.mark.parametrize("type_, secret", [("proc", "sys/kernel/core_pattern"), ("sysfs", "kernel/mm")])
def test_no_unmasked_procfs_or_sysfs_can_be_mounted(
    unmasked, machine, mount_of_the_host, type_, secret, user_namespace
):
    mount_of_the_host(type_)
    if user_namespace:
        unmasked.user_namespace()
    attack = f"{UNSHARE} sh -c 'mount -t {type_} x /mnt; test -e /mnt/{secret} && echo unmasked'; echo end"
    result = run_without_pivot(machine, unmasked, attack)

    assert result.stdout == "end\n", result.stderr
    assert "permission denied" in result.stderr


@pytest.mark.parametrize(
    "type_, stdout, stderr",
    [("tmpfs", "end\n", ""), ("proc", "", "Permission denied"), ("sysfs", "", "Permission denied")],
)
def test_only_a_procfs_or_sysfs_out_of_reach_of_a_user_namespace_matters(
    unmasked, machine, mount_of_the_host, directory, type_, stdout, stderr
):
    """The container can be started beside other mounts that its root may not reach, such as those of another engine."""
    mount_of_the_host(type_, below="private")
    (directory / "private").chmod(0o700)
    unmasked.user_namespace()
    result = run_without_pivot(machine, unmasked, "echo end")

    assert result.stdout == stdout
    assert stderr in result.stderr


def test_what_covers_the_root_of_the_host_covers_no_mounts(bundle, machine, mount_of_the_host):
    """An attacker with CAP_SYS_ADMIN can unmount the container's root; what the host has mounted is not below it."""
    secret = mount_of_the_host("tmpfs") / "secret"
    secret.write_text("of the host")
    bundle.config["process"]["args"] = ["/bin/sleep", "1000"]
    bundle.save()
    id_ = machine.new_id()
    machine.pyrun("run", "--detach", "--no-pivot", "--bundle", bundle.path, id_, stdout=subprocess.DEVNULL)
    pid = wait_until(lambda: machine.state(id_)["pid"])
    attack = (
        "import ctypes, os; libc = ctypes.CDLL(None, use_errno=True);"
        f"namespace = os.open('/proc/{pid}/ns/mnt', os.O_RDONLY);"
        "results = libc.setns(namespace, 0), libc.umount2(b'/', 2), libc.setns(namespace, 0);"
        f"print(results, os.path.isdir({str(secret.parent)!r}), os.path.exists({str(secret)!r}))"
    )
    result = subprocess.run([sys.executable, "-c", attack], capture_output=True, text=True)

    assert result.stdout == "(0, 0, 0) True False\n", result.stderr
