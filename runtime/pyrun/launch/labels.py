"""The labels of a process (confine/labels.py), written by rows of the last mile.

By nobody else: the kernel takes them only from the process itself, through a descriptor that it opened itself. And
never by a path of the container's, whose /proc can be made to lead the write elsewhere (CVE-2019-16884,
CVE-2025-52881): the process makes itself a procfs that is mounted nowhere, of the pid namespace that it is in.

Where it may not (in a user namespace whose own procfs is masked), it takes the host's instead. That is handed over as a
descriptor, which peers that can look into the process might then follow to the host's processes; but from within a user
namespace they have no power over those.
"""

import os

from pyrun.errors import Error
from pyrun.linux.mount import FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC
from pyrun.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV
from pyrun.linux.statfs import PROC_SUPER_MAGIC, file_system_type
from pyrun.rootless import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.launch.table import Table

_ROOT_INODE = 1  # PROC_ROOT_INO of <linux/proc_fs.h>
_SAFELY = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS


class Labels:
    """What a process writes to its own attributes: (file in /proc/self/attr, text).

    descriptor   the host's procfs, -1 where the process makes its own
    """

    def __init__(self, attributes: "list[tuple[str, str]]") -> None:
        self.attributes = attributes
        self.descriptor = -1

    def open(self, in_user_namespace: bool) -> None:
        """Open what the rows need, `in_user_namespace` being whether the process will be in one, and not only we."""
        if in_user_namespace or rootless():
            self.descriptor = _host_procfs()

    def place(self, table: "Table", free: int) -> None:
        """Append the rows; `free` is the lowest descriptor that is free, and is so again afterwards."""
        procfs = self.descriptor if self.descriptor >= 0 else _make_procfs(table, free)
        # struct open_how, openat2(2). thread-self is whoever opens it, and a symlink within procfs.
        how = table.words(os.O_WRONLY | os.O_CLOEXEC, 0, _SAFELY)
        for file, text in self.attributes:
            content = text.encode()
            label = f'write /proc/self/attr/{file} "{text}"'
            path = table.string(f"thread-self/attr/{file}".encode())
            table.call("openat2", procfs, path, how, 3 * 8, label=label)
            table.call("write", free, table.string(content), len(content), label=label)
            table.call("close", free)
        table.call("close", procfs)


def _make_procfs(table: "Table", free: int) -> int:
    """Append the rows that mount a procfs nowhere, and return its descriptor."""
    context, procfs = free, free + 1
    table.call("fsopen", table.string(b"proc"), FSOPEN_CLOEXEC, label="fsopen proc")
    table.call("fsconfig", context, FSCONFIG_CMD_CREATE, label="fsconfig proc")
    table.call("fsmount", context, FSMOUNT_CLOEXEC, 0, label="fsmount proc")
    table.call("close", context)
    return procfs


def _host_procfs() -> int:
    """Open the procfs of the host, and be sure that it is one."""
    fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if file_system_type(fd) != PROC_SUPER_MAGIC or os.fstat(fd).st_ino != _ROOT_INODE:
        raise Error("/proc of the host is not procfs: it is needed to give the process its label")
    return fd
