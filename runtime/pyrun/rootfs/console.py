"""The container's terminal: a pseudo terminal of its own devpts."""

import os
import stat
from fcntl import ioctl

from pyrun.errors import Error
from pyrun.rootfs.tree import Tree

TIOCGPTPEER = 0x5441  # <asm-generic/ioctls.h>, Linux 4.13
TIOCSPTLCK = 0x40045431
TIOCSWINSZ = 0x5414

PTMX = os.makedev(5, 2)
PTS_MAJORS = range(136, 144)  # Documentation/admin-guide/devices.txt


def open_terminal(tree: Tree, own_descriptors: int) -> "tuple[int, int]":
    """Return (master, slave) of a new pseudo terminal in the devpts that the container has at /dev/pts.

    `own_descriptors` is this process's /proc/self/fd, opened while /proc was the host's.

    The slave is opened through the master, never by its name, which the container could have replaced by a symlink
    (CVE-2025-52565).
    """
    ptmx = tree.open("/dev/pts/ptmx")
    try:
        found = os.fstat(ptmx)
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != PTMX:
            raise Error("/dev/pts/ptmx is not the pseudo terminal multiplexer: mount devpts at /dev/pts")
        master = os.open(str(ptmx), os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=own_descriptors)
    finally:
        os.close(ptmx)
    ioctl(master, TIOCSPTLCK, (0).to_bytes(4, "little"))
    slave = ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if os.major(os.fstat(slave).st_rdev) not in PTS_MAJORS:
        raise Error("the terminal's slave is not a pseudo terminal")
    return master, slave


def open_own_descriptors() -> int:
    """Return /proc/self/fd, by which an O_PATH descriptor can be opened again. Must run while /proc is the host's."""
    return os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def set_size(terminal: int, height: int, width: int) -> None:
    size = height.to_bytes(2, "little") + width.to_bytes(2, "little") + bytes(4)
    ioctl(terminal, TIOCSWINSZ, size)
