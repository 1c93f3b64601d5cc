"""Whether we run without the privileges of root on the host."""

from foundation.linux import os, whole_file


def rootless() -> bool:
    """Return whether we are not root, or only root of a user namespace (the initial one maps all ids to themselves)."""
    if os.geteuid() != 0:
        return True
    return whole_file.read("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]
