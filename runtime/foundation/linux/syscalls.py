"""<asm/unistd.h>: the numbers of the system calls that we make by number.

Numbers from 424 up are the same on every machine; the older ones are (x86_64, the others).  "The others" is
<asm-generic/unistd.h>: aarch64, riscv64, loongarch64.  `number` raises KeyError for a call that this machine's table
does not have.
"""

import sys

from foundation.linux import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    # A system call as data: its name, its arguments (bytes for one that is a pointer), and a label for errors.
    Call = tuple[str, tuple[int | bytes, ...], str]

_NUMBERS = {
    "read": (0, 63),
    "write": (1, 64),
    "close": (3, 57),
    "rt_sigaction": (13, 134),
    "rt_sigprocmask": (14, 135),
    "ioctl": (16, 29),
    "pread64": (17, 67),
    "recvfrom": (45, 207),
    "sendmsg": (46, 211),
    "clone": (56, 220),
    "execve": (59, 221),
    "wait4": (61, 260),
    "kill": (62, 129),
    "fcntl": (72, 25),
    "getcwd": (79, 17),
    "chdir": (80, 49),
    "fchdir": (81, 50),
    "fchown": (93, 55),
    "umask": (95, 166),
    "setpgid": (109, 154),
    "setsid": (112, 157),
    "setgroups": (116, 159),
    "setresuid": (117, 147),
    "setresgid": (119, 149),
    "setfsuid": (122, 151),
    "setfsgid": (123, 152),
    "capset": (126, 91),
    "rt_sigtimedwait": (128, 137),
    "personality": (135, 92),
    "prctl": (157, 167),
    "chroot": (161, 51),
    "sched_setaffinity": (203, 122),
    "clock_gettime": (228, 113),
    "exit_group": (231, 94),
    "set_mempolicy": (238, 237),
    "keyctl": (250, 219),
    "ioprio_set": (251, 30),
    "ppoll": (271, 73),
    "unshare": (272, 97),
    "accept4": (288, 242),
    "dup3": (292, 24),
    "prlimit64": (302, 261),
    "setns": (308, 268),
    "sched_setattr": (314, 274),
    "seccomp": (317, 277),
    "bpf": (321, 280),
    "execveat": (322, 281),
}
_EVERYWHERE = {
    "pidfd_send_signal": 424,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "pidfd_open": 434,
    "clone3": 435,
    "close_range": 436,
    "openat2": 437,
    "pidfd_getfd": 438,
    "mount_setattr": 442,
    "landlock_create_ruleset": 444,
    "landlock_add_rule": 445,
    "landlock_restrict_self": 446,
}

# A 32-bit interpreter on a 64-bit kernel has numbers of its own.
MACHINE = os.uname().machine if sys.maxsize > 1 << 32 else "32-bit"
_COLUMN = {"x86_64": 0, "aarch64": 1, "riscv64": 1, "loongarch64": 1}.get(MACHINE)


def words(*values: int) -> bytes:
    """Return 64-bit words, of which the structures of most newer system calls consist; a negative one modulo 2**64."""
    return b"".join([(value & 0xFFFFFFFFFFFFFFFF).to_bytes(8, "little") for value in values])


def number(name: str) -> int:
    """Return the number of the system call `name` on this machine. Raises KeyError if its table does not have it."""
    everywhere = _EVERYWHERE.get(name)
    if everywhere is not None:
        return everywhere
    if _COLUMN is None:
        raise KeyError(name)
    return _NUMBERS[name][_COLUMN]
