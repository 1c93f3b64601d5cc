"""The container's terminal: a pseudo terminal of the container's devpts."""

import _stat as stat
from fcntl import ioctl

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.opened import opened
from pyrun.rootfs.tree import Tree

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.config.document import Process

TIOCGPTPEER = 0x5441  # <asm-generic/ioctls.h>, Linux 4.13
TIOCSPTLCK = 0x40045431
TIOCSWINSZ = 0x5414

# struct termios of <asm-generic/termbits.h>: the output modes are its second word, little-endian.
_TCGETS, _TCSETS = 0x5401, 0x5402
_TERMIOS_SIZE, _OUTPUT_MODES = 36, 4
_ONLCR = 0x4

PTMX = os.makedev(5, 2)
PTS_MAJORS = range(136, 144)  # Documentation/admin-guide/devices.txt


def open_terminal(tree: Tree, own_descriptors: int, process: "Process") -> "tuple[int, int]":
    """Return (master, slave) of a new pseudo terminal for `process`, in the container's devpts at /dev/pts.

    `own_descriptors` is this process's /proc/self/fd, opened while /proc was the host's. The caller closes master and
    slave.

    The slave is opened through the master, never by name: the container could have replaced the name by a symlink
    (CVE-2025-52565).
    """
    with opened(tree.open("/dev/pts/ptmx")) as ptmx:
        found = os.fstat(ptmx)
        if not stat.S_ISCHR(found.st_mode) or found.st_rdev != PTMX:
            raise Error("/dev/pts/ptmx is not the pseudo terminal multiplexer: mount devpts at /dev/pts")
        master = reopen(own_descriptors, ptmx, os.O_RDWR, "/dev/pts/ptmx")
    ioctl(master, TIOCSPTLCK, (0).to_bytes(4, "little"))
    slave = ioctl(master, TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
    if os.major(os.fstat(slave).st_rdev) not in PTS_MAJORS:
        raise Error("the terminal's slave is not a pseudo terminal")
    if process.console_size:
        _set_size(slave, process.console_size.height, process.console_size.width)
    if process.plain_lines:
        _keep_lines_plain(slave)
    return master, slave


def open_own_descriptors() -> int:
    """Open /proc/self/fd, through which an O_PATH descriptor can be reopened; the caller closes it.

    Must run while /proc is the host's.
    """
    return os.open("/proc/self/fd", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)


def reopen(own_descriptors: int, found: int, flags: int, path: "str | bytes") -> int:
    """Open the file of the O_PATH descriptor `found`, which was at `path`. Raises OSError, which names that."""
    try:
        return os.open(str(found), flags | os.O_NOCTTY | os.O_CLOEXEC, dir_fd=own_descriptors)
    except OSError as error:
        error.filename = path
        raise


def _set_size(terminal: int, height: int, width: int) -> None:
    size = height.to_bytes(2, "little") + width.to_bytes(2, "little") + bytes(4)
    ioctl(terminal, TIOCSWINSZ, size)


def _keep_lines_plain(terminal: int) -> None:
    """Have the terminal not write "\r\n" for "\n". By hand, because the module termios would be slow to load."""
    mode = bytearray(ioctl(terminal, _TCGETS, bytes(_TERMIOS_SIZE)))
    mode[_OUTPUT_MODES] &= ~_ONLCR
    ioctl(terminal, _TCSETS, bytes(mode))
