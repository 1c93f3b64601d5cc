"""Attacks of the advisories of 2025 and 2026, each by its name; most need an image whose /dev no mount covers."""

import os
import pty
import stat
import subprocess

import pytest
from hostile import exchanging

pytestmark = [pytest.mark.peers, pytest.mark.usefixtures("host_mounts")]

IN_DEV = ("/dev", "/dev/pts", "/dev/shm", "/dev/mqueue")


def without_mount_namespace(bundle):
    bundle.config["linux"]["namespaces"] = [
        one for one in bundle.config["linux"]["namespaces"] if one["type"] not in ("mount", "cgroup")
    ]
    for name in ("maskedPaths", "readonlyPaths"):
        bundle.config["linux"].pop(name, None)
    bundle.without_mount("/sys", "/sys/fs/cgroup")


VARIANTS = {
    "root": (lambda bundle: None, ()),
    "user namespace": (lambda bundle: bundle.user_namespace(), ()),
    "no pivot": (lambda bundle: None, ("--no-pivot",)),
    "no mount namespace": (without_mount_namespace, ()),
    "overlay": (lambda bundle: None, ("--overlay",)),
}


@pytest.fixture(params=VARIANTS)
def run(request, machine):
    """Run a bundle in each of the ways that enter a root file system."""
    if request.param == "no mount namespace" and "pyrun" not in machine.program:
        pytest.skip("runc and crun leave the mounts of such a container on the host: doc/peers.md")
    prepare, options = VARIANTS[request.param]

    def run(bundle, *shell, **keywords):
        if shell:
            bundle.config["process"]["args"] = ["/bin/sh", "-c", *shell]
        prepare(bundle)
        bundle.save()
        id_ = machine.new_id()
        result = machine.pyrun("run", *options, "--bundle", bundle.path, id_, **keywords)
        machine.pyrun("delete", "--force", id_)
        return result

    return run


@pytest.mark.falls("runc", "to CVE-2026-41579")
@pytest.mark.parametrize("target", ["{victim}", "../../victim", "/link-to-victim"])
def test_cve_2026_41579_and_47766_dev_is_a_symlink(bundle, run, victim, target):
    """runc before 1.3.6 and crun before 1.28 removed the ptmx of the host's directory, and made their links in it."""
    bundle.without_mount("/dev", "/dev/shm", "/dev/mqueue")  # devpts stays: it is what ptmx is a link to
    bundle.config["linux"]["devices"] = [{"path": "/dev/extra", "type": "c", "major": 1, "minor": 5}]
    os.symlink(victim.path, bundle.rootfs / "link-to-victim")
    os.symlink(target.format(victim=victim.path), bundle.rootfs / "dev")

    run(bundle, "echo ran")

    assert victim.is_untouched()


@pytest.mark.falls("runc", "to CVE-2026-41579")
@pytest.mark.falls("crun", "to CVE-2026-88264")
@pytest.mark.parametrize("read_only", [False, True])
@pytest.mark.parametrize("link", ["dev", "dev/console"])
def test_cve_2026_88264_the_console_is_a_symlink(bundle, run, victim, link, read_only):
    """crun to 1.29.1 made, or bound over, the file of the host that the symlink leads to."""
    bundle.without_mount(*IN_DEV)
    bundle.config["process"]["terminal"] = True
    bundle.config["root"]["readonly"] = read_only
    (bundle.rootfs / link).parent.mkdir(exist_ok=True)
    os.symlink(victim.path if link == "dev" else victim.path / "new", bundle.rootfs / link)
    master, slave = pty.openpty()

    run(bundle, "echo ran", stdin=slave, stdout=slave, stderr=slave)
    os.close(slave)
    os.close(master)

    assert victim.is_untouched()


@pytest.mark.falls("runc", "it takes the file for the null device")
@pytest.mark.falls("crun", "to CVE-2026-88265")
@pytest.mark.parametrize("target", ["{victim}/null", "/secret"])
def test_cve_2026_88265_the_null_device_is_a_symlink(bundle, machine, victim, target):
    """crun to 1.29.1 opened it again for the standard streams, and gave the file to the container's user."""
    (bundle.rootfs / "secret").write_text("of the image's root")
    (bundle.rootfs / "secret").chmod(0o600)
    bundle.without_mount(*IN_DEV)
    bundle.config["mounts"].append({"destination": "/dev", "source": str(bundle.path / "dev"), "options": ["rbind"]})
    (bundle.path / "dev").mkdir()
    os.symlink(target.format(victim=victim.path), bundle.path / "dev/null")
    bundle.config["process"]["user"] = {"uid": 1000, "gid": 1000}
    id_ = machine.create(bundle, "sleep 1000", stdout=subprocess.DEVNULL)
    machine.pyrun("start", id_)
    pid = machine.state(id_)["pid"]

    for fd in (0, 1):
        assert os.stat(f"/proc/{pid}/fd/{fd}").st_rdev == os.makedev(1, 3)
    assert (bundle.rootfs / "secret").stat().st_uid == 0
    assert victim.is_untouched()


@pytest.fixture
def dev_of_a_peer(bundle):
    """A directory of a volume at /dev, in which another container exchanges files while ours is made."""
    dev = bundle.path / "dev"
    for name in ("", "pts", "shm", "mqueue"):
        (dev / name).mkdir(exist_ok=True)
    for name, number in (("null", (1, 3)), ("console", (5, 1))):
        os.mknod(dev / name, stat.S_IFCHR | 0o666, os.makedev(*number))
    bundle.without_mount("/dev")
    bundle.config["mounts"].insert(1, {"destination": "/dev", "source": str(dev), "options": ["bind"]})
    return dev


def exchanged_for(path, target):
    """Exchange the file with a symlink, over and over."""
    os.symlink(target, path.with_name(".other"))
    return exchanging(path, path.with_name(".other"))


ROUNDS = 15


@pytest.mark.falls("runc", "to CVE-2025-31133")
@pytest.mark.falls("crun", "to CVE-2025-31133")
def test_cve_2025_31133_a_peer_replaces_the_null_device_that_masks(bundle, machine, dev_of_a_peer):
    """runc bound what it led to over the masked file: here the host's core_pattern, which could then be written."""
    bundle.config["linux"]["maskedPaths"] = ["/proc/version"]
    with exchanged_for(dev_of_a_peer / "null", "/proc/sys/kernel/core_pattern"):
        results = [machine.run(bundle, "stat -c %t:%T /proc/version") for _ in range(ROUNDS)]

    assert {result.stdout for result in results} == {"1:3\n"}, results


def test_cve_2025_52565_a_peer_replaces_the_console(bundle, machine, dev_of_a_peer):
    """runc bound /dev/pts/N over what it led to, before it was masked, so that a secret could be bound elsewhere."""
    (bundle.rootfs / "secret").write_text("of the image")
    bundle.config["process"]["terminal"] = True
    script = "stat -c type-%t /proc/sysrq-trigger; echo 2>/dev/null >/proc/sysrq-trigger || echo no"
    shown = []
    with exchanged_for(dev_of_a_peer / "console", "/proc/sysrq-trigger"):
        for _ in range(ROUNDS):
            bundle.config["process"]["args"] = ["/bin/sh", "-c", script]
            master, slave = pty.openpty()
            result = machine.run(bundle, stdin=slave, stdout=slave, stderr=subprocess.PIPE)
            os.close(slave)
            output = os.read(master, 4096).decode() if result.returncode == 0 else result.stderr
            shown.append((result.returncode, output))
            os.close(master)

    for status, text in shown:
        # Read-only, or behind the container's own terminal (88 is 136).
        assert status != 0 or {"no", "type-88"} & set(text.split()), shown


def test_cve_2025_52881_a_peer_leads_sysctls_elsewhere(bundle, machine):
    """runc wrote to what the peer had put into the container's /proc; ours is the host's procfs."""
    fake = bundle.path / "fake"
    (fake / "sys/net/ipv4").mkdir(parents=True)
    (fake / "sys/net/ipv4/ip_default_ttl").write_text("untouched")
    (bundle.rootfs / "proc").mkdir(exist_ok=True)
    bundle.config["linux"]["sysctl"] = {"net.ipv4.ip_default_ttl": "33"}
    with exchanged_for(bundle.rootfs / "proc", fake):
        results = [machine.run(bundle, "cat /proc/sys/net/ipv4/ip_default_ttl") for _ in range(ROUNDS)]

    assert (fake / "sys/net/ipv4/ip_default_ttl").read_text() == "untouched"
    # Where the symlink is there first it is refused, and where it comes later the container does not find its /proc.
    assert {result.stdout for result in results} <= {"33\n", ""}
    reasons = ("must be mounted on ordinary directory", "No such file or directory")
    refused = [result.stderr for result in results if result.returncode != 0]
    assert all(any(one in stderr for one in reasons) for stderr in refused) or "pyrun" not in machine.program, refused
