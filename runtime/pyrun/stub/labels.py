"""The labels of a process (confine/labels.py), written by rows of the stub.

The stub writes them because the kernel accepts a label only from the process itself, through a descriptor that it
opened itself. It does not use the container's /proc, which the image can make lead the write elsewhere (CVE-2019-16884,
CVE-2025-52881): it creates a procfs of its pid namespace that is not mounted anywhere.

In a user namespace whose own procfs has masks, the kernel forbids that (mount_too_revealing(), fs/namespace.c). The
stub then gets a descriptor of the host's procfs. A process of the container that can look into the stub might follow it
to the host's processes, but has no power over those from within its user namespace.
"""

from foundation.errors import Error
from foundation.linux import os
from foundation.linux.mount import FSCONFIG_CMD_CREATE, FSMOUNT_CLOEXEC, FSOPEN_CLOEXEC
from foundation.linux.openat2 import HOW_SIZE, RESOLVE_BENEATH, RESOLVE_NO_MAGICLINKS, RESOLVE_NO_XDEV
from foundation.linux.statfs import PROC_SUPER_MAGIC, file_system_type
from foundation.rootless import rootless

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.stub.table import Table

_ROOT_INODE = 1  # PROC_ROOT_INO of <linux/proc_fs.h>
_SAFELY = RESOLVE_BENEATH | RESOLVE_NO_XDEV | RESOLVE_NO_MAGICLINKS


class Labels:
    """The attributes that a process writes about itself: (file in /proc/self/attr, text).

    descriptor   the host's procfs, or -1 if the process makes its own
    """

    def __init__(self, attributes: "list[tuple[str, str]]") -> None:
        self.attributes = attributes
        self.descriptor = -1

    def open(self, in_user_namespace: bool) -> None:
        """Open the host's procfs if the rows need it; the caller closes `descriptor`. Raises Error, OSError.

        `in_user_namespace` says whether the process will be in a user namespace of its own. Must run while /proc is
        the host's.
        """
        if in_user_namespace or rootless():
            self.descriptor = _host_procfs()

    def place(self, table: "Table") -> None:
        """Append the rows."""
        procfs = self.descriptor if self.descriptor >= 0 else _make_procfs(table)
        # struct open_how, openat2(2). thread-self is a symlink within procfs to the process that opens it.
        how = table.words(os.O_WRONLY | os.O_CLOEXEC, 0, _SAFELY)
        for file, text in self.attributes:
            content = text.encode()
            label = f'write /proc/self/attr/{file} "{text}"'
            path = table.string(f"thread-self/attr/{file}".encode())
            fd = table.open("openat2", procfs, path, how, HOW_SIZE, label=label)
            table.call("write", fd, table.string(content), len(content), label=label)
            table.close(fd)
        table.close(procfs)


def _make_procfs(table: "Table") -> int:
    """Append the rows that make a procfs without attaching it, and return its descriptor."""
    context = table.open("fsopen", table.string(b"proc"), FSOPEN_CLOEXEC, label="fsopen proc")
    table.call("fsconfig", context, FSCONFIG_CMD_CREATE, label="fsconfig proc")
    procfs = table.open("fsmount", context, FSMOUNT_CLOEXEC, 0, label="fsmount proc")
    table.close(context)
    return procfs


def _host_procfs() -> int:
    """Return a descriptor of the host's /proc. Raises Error if that is not a procfs."""
    fd = os.open("/proc", os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    if file_system_type(fd) != PROC_SUPER_MAGIC or os.fstat(fd).st_ino != _ROOT_INODE:
        raise Error("/proc of the host is not procfs: it is needed to give the process its label")
    return fd
