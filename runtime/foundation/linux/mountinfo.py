"""proc_pid_mountinfo(5): the mounts that a process sees."""

from foundation.linux import os, whole_file


class Mounted:
    """A line of mountinfo.

    id        the mount's id, as in fdinfo and statx(2)
    device    the file system's device number, as in stat(2)
    root      the directory of the file system that is mounted
    path      the mount point, below the root directory of the process
    groups    its peer groups, as "shared:5" and "master:7" (mount_namespaces(7))
    type      the file system's type
    options   the superblock's options
    """

    def __init__(self, line: str) -> None:
        before, _, after = line.partition(" - ")
        id_, _, number, root, path, _, *self.groups = before.split(" ")
        major, minor = number.split(":")
        self.id = int(id_)
        self.device = os.makedev(int(major), int(minor))
        self.root = _unescaped(root)
        self.path = _unescaped(path)
        self.type, _, options = after.split(" ", 2)
        self.options = [_unescaped(option) for option in options.split(",")]


def mounts(pid: "int | str" = "self") -> "list[Mounted]":
    """Return the mounts that the process sees, in the order in which they were made."""
    return parse(os.fsdecode(whole_file.read(f"/proc/{pid}/mountinfo")))


def parse(text: str, containing: str = "") -> "list[Mounted]":
    """Return the lines of `text` that contain `containing`: parsing only these is faster, as hosts have many mounts."""
    return [Mounted(line) for line in text.split("\n") if line and containing in line]


def mount_id(fd: int) -> int:
    """Return the id of the mount that the file of `fd` is on, proc_pid_fdinfo(5)."""
    with open(f"/proc/self/fdinfo/{fd}", "rb") as file:
        (number,) = [line.split()[1] for line in file if line.startswith(b"mnt_id:")]
    return int(number)


def _unescaped(text: str) -> str:
    """Decode the octal escapes of spaces, tabs, newlines and backslashes: "\\040"."""
    first, *rest = text.split("\\")
    return first + "".join(chr(int(part[:3], 8)) + part[3:] for part in rest)
