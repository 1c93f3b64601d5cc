"""<sys/prctl.h>, <sys/fsuid.h> and <linux/capability.h>: what a process is and may."""

from pyrun.linux.libc import byref, c_int, c_uint32, c_ulong, c_void_p, declare

PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_KEEPCAPS = 8
PR_SET_NAME = 15
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_SET_CHILD_SUBREAPER = 36
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_RAISE = 2
PR_CAP_AMBIENT_CLEAR_ALL = 4
PR_SCHED_CORE = 62
PR_SCHED_CORE_GET = 0
PR_SCHED_CORE_CREATE = 1
PR_SCHED_CORE_SHARE_FROM = 3
PR_SCHED_CORE_SCOPE_THREAD = 0
PR_SCHED_CORE_SCOPE_THREAD_GROUP = 1

LINUX_CAPABILITY_VERSION_3 = 0x20080522

_prctl = declare("prctl", c_int, c_ulong, c_ulong, c_ulong, c_ulong)
_setfsuid = declare("setfsuid", c_uint32)
_setfsgid = declare("setfsgid", c_uint32)
_capget = declare("capget", c_void_p, c_void_p)

_Header = c_uint32 * 2
_Data = c_uint32 * 6


def prctl(option: int, argument: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    return _prctl(option, argument, third, fourth, fifth)


def set_filesystem_ids(uid: int, gid: int) -> None:
    """Let permission checks on files be those of `uid` and `gid`; a uid other than 0 also loses CAP_DAC_OVERRIDE.

    setfsuid(2) reports no error; whoever relies on it must be content with the checks of execve(2) that follow.
    """
    _setfsgid(gid)
    _setfsuid(uid)


def capget() -> "tuple[int, int, int]":
    """Return this process's (effective, permitted, inheritable) capabilities as bit masks."""
    data = _Data()
    _capget(byref(_Header(LINUX_CAPABILITY_VERSION_3, 0)), byref(data))
    return (data[0] | data[3] << 32, data[1] | data[4] << 32, data[2] | data[5] << 32)


def capability_words(effective: int, permitted: int, inheritable: int) -> "list[int]":
    """Return the six words of struct __user_cap_data_struct[2]."""
    sets = (effective, permitted, inheritable)
    return [mask & 0xFFFFFFFF for mask in sets] + [mask >> 32 for mask in sets]
