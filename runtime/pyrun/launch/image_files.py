"""Reading files of the image, which its author controls.

The runtime reads them as root of the host and outside of the container's devices cgroup. Opening a device node would do
what the container may not do (it arms a watchdog, for example); opening a FIFO would block, or wake the process at the
other end. So a path is first resolved with O_PATH, which has no side effect, and opened only if it is a regular file.
Files of procfs are refused, too: stat(2) calls /proc/kmsg a regular file, and reading it removes the host's messages.
"""

import _stat as stat
from errno import EACCES

from foundation.linux import os
from foundation.linux.opened import opened
from foundation.linux.statfs import PROC_SUPER_MAGIC, file_system_type
from pyrun.rootfs.console import open_own_descriptors, reopen

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.rootfs.tree import Tree


class ImageFiles:
    """Opens files of the image. Must be made while /proc is the host's; the caller closes `own_descriptors`.

    Without a `tree`, paths are this process's own, which must be in the container's root. Otherwise this process may be
    outside: paths are resolved below the root of `tree`, and a relative one starts at `directory`.

    own_descriptors   descriptor of this process's /proc/self/fd
    """

    def __init__(self, tree: "Tree | None" = None, directory: str = "/") -> None:
        self._tree = tree
        self._directory = directory
        self.own_descriptors = open_own_descriptors()

    def look(self, path: "str | bytes") -> int:
        """Return an O_PATH descriptor of `path`; the caller closes it. Raises OSError."""
        if self._tree is None:
            return os.open(path, os.O_PATH | os.O_CLOEXEC)
        return self._tree.open(os.path.join(self._directory, os.fsdecode(path)))

    def exists(self, path: "str | bytes") -> bool:
        try:
            os.close(self.look(path))
        except OSError:
            return False
        return True

    def open(self, path: "str | bytes") -> int:
        """Open `path` for reading; the caller closes it. Raises OSError, with EACCES if it is not a regular file."""
        with opened(self.look(path)) as found:
            if not stat.S_ISREG(os.fstat(found).st_mode) or file_system_type(found) == PROC_SUPER_MAGIC:
                raise OSError(EACCES, os.strerror(EACCES), path)
            # By the descriptor, because another file may be at the path by now.
            return reopen(self.own_descriptors, found, os.O_RDONLY, path)

    def is_executable(self, found: int) -> bool:
        """Return whether this process, by its ids for files, may execute the file of the O_PATH descriptor `found`."""
        return os.access(str(found), os.X_OK, dir_fd=self.own_descriptors, effective_ids=True)
