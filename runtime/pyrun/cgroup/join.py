"""How a process joins a cgroup.

v2               clone3(2) with CLONE_INTO_CGROUP makes it in the directory(). In another user namespace that is not
                 allowed: there it writes "0" to `cgroup.procs`.
v1               it writes "0" to the files(). Memory's comes last, when Python has gone, because from then on the
                 process's memory is charged to the cgroup.
systemd          moves it when it makes the scope around it (Driver.adopt)
by another one   which writes its pid: move()
"""

from foundation.linux import os
from foundation.linux.opened import open_all, opened
from foundation.linux.whole_file import write_value
from pyrun.cgroup.group import Cgroup


def directory(cgroup: Cgroup) -> int:
    """Open the v2 directory for clone3(CLONE_INTO_CGROUP); the caller closes it. Return -1 if there is none.

    It must not be passed to a process in another user namespace: that may not clone into it, and root there can
    inspect the process and reach the host's root from the descriptor by ".." (as in CVE-2024-21626).
    """
    return os.open(cgroup.paths[""], os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC) if "" in cgroup.paths else -1


def files(cgroup: Cgroup, v2: bool) -> "list[str]":
    """Return the files into which a process writes "0" to join: with `v2` that hierarchy's cgroup.procs, then the
    `tasks` of v1, memory's last.

    A "0" written to `tasks` moves only the writing thread, so the kernel does not wait for an RCU grace period, as
    it does for `cgroup.procs`. The kernel checks the credentials of the process that opened the file (Linux 5.16,
    5.10.111), so a process in another user namespace can join through a descriptor of ours.
    """
    memory, unified = cgroup.paths.get("memory"), cgroup.paths.get("")
    found = [f"{one}/tasks" for one in cgroup.directories if one not in (memory, unified)]
    if unified and v2:
        found.insert(0, f"{unified}/cgroup.procs")
    if memory:
        found.append(f"{memory}/tasks")
    return found


def open_files(cgroup: Cgroup, v2: bool) -> "list[int]":
    """Open files() for writing; the caller closes the descriptors, which are close-on-exec."""
    return open_all(files(cgroup, v2), os.O_WRONLY)


def move(cgroup: Cgroup, pid: int) -> None:
    """Put the process `pid` into the cgroup, in all hierarchies."""
    for one in cgroup.directories:
        with opened(os.open(f"{one}/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)) as fd:
            write_value(fd, b"%d" % pid)
