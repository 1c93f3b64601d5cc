"""<sys/prctl.h>, <sys/fsuid.h> and <linux/capability.h>: attributes and capabilities of this process."""

from foundation.linux import os
from foundation.linux.libc import byref, c_char_p, c_int, c_uint32, c_ulong, c_void_p, declare

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

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
_prctl_text = declare("prctl", c_int, c_char_p)
_setfsuid = declare("setfsuid", c_uint32)
_setfsgid = declare("setfsgid", c_uint32)
_capget = declare("capget", c_void_p, c_void_p)
_capset = declare("capset", c_void_p, c_void_p)

_Header = c_uint32 * 2
_Data = c_uint32 * 6


def prctl(option: int, argument: int = 0, third: int = 0, fourth: int = 0, fifth: int = 0) -> int:
    """prctl(2): change or ask an attribute PR_* of this process. EINVAL: the kernel does not know the option."""
    return _prctl(option, argument, third, fourth, fifth)


def set_name(name: bytes) -> None:
    """Call this process `name` in lists of processes; the kernel takes the first 15 bytes."""
    _prctl_text(PR_SET_NAME, name)


def end_with(parent: int, number: int) -> None:
    """Let the kernel send us the signal `number` when our `parent` ends (PR_SET_PDEATHSIG, prctl(2)).

    If the parent ended before the prctl, the kernel sends nothing; then we send the signal ourselves.
    """
    prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent:
        os.kill(os.getpid(), number)


def set_filesystem_ids(uid: int, gid: int) -> None:
    """Use `uid` and `gid` for permission checks of files; a uid other than 0 also drops CAP_DAC_OVERRIDE for them.

    setfsuid(2) reports no error, so rely on it only if execve(2) checks the same again.
    """
    _setfsgid(gid)
    _setfsuid(uid)


class filesystem_ids:
    """`with filesystem_ids(uid, gid):` is set_filesystem_ids() for a block; after it the effective ids count again."""

    def __init__(self, uid: int, gid: int) -> None:
        self.ids = uid, gid

    def __enter__(self) -> None:
        set_filesystem_ids(*self.ids)

    def __exit__(self, kind: object, error: object, traceback: "TracebackType | None") -> None:
        set_filesystem_ids(os.geteuid(), os.getegid())


def capget() -> "tuple[int, int, int]":
    """Return this process's (effective, permitted, inheritable) capabilities as bit masks."""
    data = _Data()
    _capget(byref(_Header(LINUX_CAPABILITY_VERSION_3, 0)), byref(data))
    return (data[0] | data[3] << 32, data[1] | data[4] << 32, data[2] | data[5] << 32)


def capset(effective: int, permitted: int, inheritable: int) -> None:
    """Take these capabilities, as bit masks, for this process. EPERM for more than are permitted."""
    data = _Data(*capability_words(effective, permitted, inheritable))
    _capset(byref(_Header(LINUX_CAPABILITY_VERSION_3, 0)), byref(data))


def capability_words(effective: int, permitted: int, inheritable: int) -> "list[int]":
    """Return the six words of struct __user_cap_data_struct[2]."""
    sets = (effective, permitted, inheritable)
    return [mask & 0xFFFFFFFF for mask in sets] + [mask >> 32 for mask in sets]
