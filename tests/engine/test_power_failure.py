"""What a power failure leaves of containers, volumes and networks that were made or changed a moment before."""

import fcntl
import os
import struct
import subprocess

import pytest
from daemon import Daemon, wait_until

# ioctl(2) XFS_IOC_GOINGDOWN and EXT4_IOC_SHUTDOWN: _IOR('X', 125, __u32). The journal is written, with names and sizes;
# data that has not been written is lost.
SHUT_DOWN, LOSE_DATA = 0x8004587D, 1


@pytest.fixture(params=["xfs", "ext4"])
def disk(hub, tmp_path, request):
    """A disk for the data of an engine, which outlives it."""
    kind = request.param
    image, place = tmp_path / "disk", tmp_path / "engine/data"
    place.mkdir(parents=True)
    with open(image, "wb") as file:
        file.truncate(320 << 20)
    subprocess.run([f"mkfs.{kind}", "-q", image], check=True)
    made = Disk(hub, image, place)
    made.mount()
    yield made
    made.unmount()


class Disk:
    def __init__(self, hub, image, place):
        self.hub, self.image, self.place = hub, image, place

    def mount(self):
        assert self.hub.run("mount", "-o", "loop", self.image, self.place).returncode == 0

    def unmount(self):
        wait_until(lambda: self.hub.run("umount", self.place).returncode == 0, "the end of those who use the disk")

    def lose_power(self):
        """Have the disk be as a power failure now leaves it."""
        top = os.open(f"/proc/{self.hub.inside[-1]}/root{self.place}", os.O_RDONLY)
        fcntl.ioctl(top, SHUT_DOWN, struct.pack("I", LOSE_DATA))
        os.close(top)


@pytest.mark.needs(
    "/usr/sbin/mkfs.xfs", "/usr/sbin/mkfs.ext4", "file system xfs", "file system ext4", "/dev/loop-control"
)
def test_what_was_made_or_changed_a_moment_before_is_there(hub, tmp_path, disk):
    engine = Daemon(hub, tmp_path / "engine", "--bridge", "own0")
    engine.ok("pull", "-q", "busybox")
    engine.ok("create", "--name", "older", "--network=none", "busybox", "echo", "works")
    disk.hub.run("sync", "-f", disk.place)
    engine.ok("rename", "older", "renamed")
    engine.ok("create", "--name", "new", "--network=none", "-v", "volume:/v", "busybox", "echo", "works")
    engine.ok("network", "create", "network")

    disk.lose_power()
    engine.kill()
    disk.unmount()
    disk.mount()
    engine.start()

    try:
        assert sorted(engine.ok("ps", "-a", "--format", "{{.Names}}").split()) == ["new", "renamed"]
        assert engine.ok("volume", "ls", "-q") == "volume"
        assert "network" in engine.ok("network", "ls", "--format", "{{.Name}}").split()
        assert [engine.ok("start", "-a", name) for name in ("new", "renamed")] == ["works", "works"]
    finally:
        engine.remove_all()
        engine.ok("network", "rm", "network")
        engine.stop()
