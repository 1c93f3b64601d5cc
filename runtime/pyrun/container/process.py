"""The processes that state.json names: a pid, and the start time that tells it from a later process with that pid.

What these functions say is read from the host's /proc. By the next line of the caller the process may have ended; only
a pidfd stays with one process.
"""

from foundation.linux import os
from foundation.linux.opened import opened

# The process name (PR_SET_NAME) of an init that waits to be started; execve(2) replaces it by the program's.
WAITING = "pyrun:[init]"

_PF_EXITING, _PF_FORKNOEXEC = 0x4, 0x40  # <linux/sched.h>


def process_name(pid: int, start_time: int) -> str:
    """Return the name of the process that had `pid` at `start_time`, or "" if it is gone or a zombie."""
    fields = process_stat(pid)
    return fields[0] if fields and fields[1] not in "ZXx" and fields[2] == start_time else ""


def open_process(pid: int, start_time: int) -> int:
    """Return a pidfd of the process that had `pid` at `start_time`, or -1 if it is gone or a zombie.

    The caller closes it. Raises the OSError of another failure, such as EMFILE: the process may be alive then.
    """
    try:
        pidfd = os.pidfd_open(pid)
    except ProcessLookupError:
        return -1
    if process_name(pid, start_time):
        return pidfd
    os.close(pidfd)
    return -1


def process_stat(pid: int) -> "tuple[str, str, int, int] | None":
    """Return (name, state, start time in clock ticks, parent's pid) from /proc/PID/stat (proc(5)); None if it is gone.

    Must run while /proc is the host's.
    """
    name, fields = _read_stat(pid)
    return (name, fields[0], int(fields[19]), int(fields[1])) if fields else None


def has_ended(pid: int, start_time: int) -> bool:
    """Return whether the process has ended or is ending: nothing can enter a pid namespace whose init is (ENOMEM)."""
    _, fields = _read_stat(pid)
    is_there = bool(fields) and int(fields[19]) == start_time
    return not is_there or fields[0] in "ZXx" or bool(int(fields[6]) & _PF_EXITING)


def in_namespace_of(pid: int, start_time: int) -> "list[int]":
    """Return the pids of the processes in the pid namespace of the one that had `pid` at `start_time`, as far as we may
    look; [] if it is gone."""
    found = []
    try:
        wanted = os.readlink(f"/proc/{pid}/ns/pid")
    except FileNotFoundError:
        return []
    if not process_name(pid, start_time):  # after that, because another process may have got the pid before
        return []
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            if os.readlink(f"/proc/{name}/ns/pid") == wanted:
                found.append(int(name))
        except OSError:
            continue  # it has ended, or is another user's
    return sorted(found)


def session(pid: int) -> int:
    """Return the session of the process (setsid(2)), 0 if it is gone."""
    _, fields = _read_stat(pid)
    return int(fields[3]) if fields else 0


def ended_before_execve(pid: int) -> bool:
    """Tell whether `pid`, made to execute a program in a container, is ending, or a zombie, and has not executed it."""
    name, fields = _read_stat(pid)
    flags = int(fields[6]) if fields else 0
    # A waiting init has called execve once, to become what waits, so only its name tells.
    return bool(flags & _PF_EXITING) and (name == WAITING or bool(flags & _PF_FORKNOEXEC))


def zombie_status(pid: int) -> int:
    """Return the status of wait(2) of a zombie; 0 if it was collected, or if we may not see it."""
    _, fields = _read_stat(pid)
    return int(fields[49]) if fields else 0


def _read_stat(pid: int) -> "tuple[str, list[str]]":
    """Return the name from /proc/PID/stat, and the fields that follow it, of which proc(5) counts the first as 3.

    Both are empty if the process is gone.
    """
    try:
        with opened(os.open(f"/proc/{pid}/stat", os.O_RDONLY | os.O_CLOEXEC)) as fd:
            text = os.read(fd, 4096).decode("utf-8", "replace")
    except (FileNotFoundError, ProcessLookupError):
        return "", []  # ESRCH: it ended while the path was resolved, or since then
    name_end = text.rindex(")")  # the last one: the name itself may contain ")"
    return text[text.index("(") + 1 : name_end], text[name_end + 2 :].split(" ")


def exit_code(status: int) -> int:
    """Return a status of wait(2) as a shell shows it: if a signal ended the process, 128 plus its number."""
    code = os.waitstatus_to_exitcode(status)
    return code if code >= 0 else 128 - code
