"""Whether we run without the privileges of root on the host."""

from foundation.linux import os, whole_file


def rootless() -> bool:
    """Return whether we are not root, or only root of a user namespace (the initial one maps all ids to themselves)."""
    if os.geteuid() != 0:
        return True
    return whole_file.read("/proc/self/uid_map").split() != [b"0", b"0", b"4294967295"]


def has_one_id() -> bool:
    """Return whether our user namespace knows only one user, who then stands for all (user_namespaces(7))."""
    lines = whole_file.read("/proc/self/uid_map").splitlines()
    return [line.split()[2] for line in lines] == [b"1"]
