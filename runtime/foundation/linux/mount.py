"""<sys/mount.h> and <linux/mount.h>: the mount calls, those by descriptor (Linux 5.2, 5.12) and the classic ones.

All of them act on the mount namespace of the process, and need CAP_SYS_ADMIN in the user namespace that owns it. A
descriptor that is returned is close-on-exec, and the caller closes it; a detached mount disappears with its last
descriptor, unless it has been attached.
"""

from foundation.linux import os
from foundation.linux.libc import c_char_p, c_int, c_size_t, c_uint, c_ulong, declare, declare_syscall
from foundation.linux.syscalls import words

MS_RDONLY = 1 << 0
MS_NOSUID = 1 << 1
MS_NODEV = 1 << 2
MS_NOEXEC = 1 << 3
MS_SYNCHRONOUS = 1 << 4
MS_REMOUNT = 1 << 5
MS_MANDLOCK = 1 << 6
MS_DIRSYNC = 1 << 7
MS_NOATIME = 1 << 10
MS_NODIRATIME = 1 << 11
MS_BIND = 1 << 12
MS_MOVE = 1 << 13
MS_REC = 1 << 14
MS_SILENT = 1 << 15
MS_UNBINDABLE = 1 << 17
MS_PRIVATE = 1 << 18
MS_SLAVE = 1 << 19
MS_SHARED = 1 << 20
MS_RELATIME = 1 << 21
MS_I_VERSION = 1 << 23
MS_STRICTATIME = 1 << 24
MS_LAZYTIME = 1 << 25

MNT_DETACH = 2
UMOUNT_NOFOLLOW = 8

OPEN_TREE_CLONE = 1
OPEN_TREE_CLOEXEC = os.O_CLOEXEC
AT_SYMLINK_NOFOLLOW = 0x100
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

MOVE_MOUNT_F_EMPTY_PATH = 0x04
MOVE_MOUNT_T_EMPTY_PATH = 0x40

FSOPEN_CLOEXEC = 1
FSMOUNT_CLOEXEC = 1
FSCONFIG_SET_FLAG = 0
FSCONFIG_SET_STRING = 1
FSCONFIG_CMD_CREATE = 6
FSCONFIG_CMD_RECONFIGURE = 7
FSPICK_EMPTY_PATH = 8
FSPICK_CLOEXEC = 1

MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR__ATIME = 0x70
MOUNT_ATTR_RELATIME = 0x00
MOUNT_ATTR_NOATIME = 0x10
MOUNT_ATTR_STRICTATIME = 0x20
MOUNT_ATTR_NODIRATIME = 0x80
MOUNT_ATTR_IDMAP = 0x00100000
MOUNT_ATTR_NOSYMFOLLOW = 0x00200000

_mount = declare("mount", c_char_p, c_char_p, c_char_p, c_ulong, c_char_p, blame=1)
_umount2 = declare("umount2", c_char_p, c_int, blame=0, waits=True)  # the last one writes the file system to disk
_open_tree = declare_syscall("open_tree", c_int, c_char_p, c_uint, blame=1)
_move_mount = declare_syscall("move_mount", c_int, c_char_p, c_int, c_char_p, c_uint)
_fsopen = declare_syscall("fsopen", c_char_p, c_uint, blame=0)
_fsconfig = declare_syscall("fsconfig", c_int, c_uint, c_char_p, c_char_p, c_int, blame=2)
_fspick = declare_syscall("fspick", c_int, c_char_p, c_uint)
_fsmount = declare_syscall("fsmount", c_int, c_uint, c_uint)
_pivot_root = declare("pivot_root", c_char_p, c_char_p)
_mount_setattr = declare_syscall("mount_setattr", c_int, c_char_p, c_uint, c_char_p, c_size_t)


def mount(
    source: "bytes | None", target: bytes, fstype: "bytes | None", flags: int, data: "bytes | None" = None
) -> None:
    """mount(2): mount, bind, move, remount, or change the propagation, as `flags` (MS_*) say.

    `data` is the file system's options in one string, at most a page long.
    """
    _mount(source, target, fstype, flags, data)


def umount2(target: bytes, flags: int) -> None:
    """umount2(2). With MNT_DETACH a busy mount goes, too, with its last user. EINVAL: it is locked, or not a mount."""
    _umount2(target, flags)


def pivot_root(new_root: bytes, put_old: bytes) -> None:
    """pivot_root(2): make the mount `new_root` the root, and attach the old one at `put_old`.

    EINVAL if the current root is the initial ramdisk, if `new_root` is not a mount, or if a parent of it is shared.
    """
    _pivot_root(new_root, put_old)


def open_tree(path: bytes, flags: int, dirfd: int = -100) -> int:
    """Return a descriptor of the mount at `path`; with OPEN_TREE_CLONE, of a detached copy of it (a bind mount).

    The caller closes it, which unmounts a copy that is not attached yet. EPERM: no CAP_SYS_ADMIN in our user namespace.
    """
    return _open_tree(dirfd, path, flags | OPEN_TREE_CLOEXEC)


def move_mount(mount_fd: int, target_fd: int) -> None:
    """Attach the detached mount `mount_fd` to the file of `target_fd` (O_PATH): without a path there is no race."""
    _move_mount(mount_fd, b"", target_fd, b"", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH)


def fsopen(fstype: bytes) -> int:
    """Return a context for a new file system; procfs, sysfs and mqueue will show the namespaces of this process.

    The caller closes it. ENODEV: the kernel does not have the file system.
    """
    return _fsopen(fstype, FSOPEN_CLOEXEC)


def fsconfig_set_string(fs_fd: int, key: bytes, value: bytes) -> None:
    """Give the context an option "key=value"; a value has at most 255 bytes. EINVAL: the file system refuses it."""
    _fsconfig(fs_fd, FSCONFIG_SET_STRING, key, value, 0)


def fsconfig_set_flag(fs_fd: int, key: bytes) -> None:
    """Give the context an option without a value, such as "ro"."""
    _fsconfig(fs_fd, FSCONFIG_SET_FLAG, key, None, 0)


def fsconfig_create(fs_fd: int) -> None:
    """Make the file system of the context; fsmount() can then mount it."""
    _fsconfig(fs_fd, FSCONFIG_CMD_CREATE, None, None, 0)


def fsconfig_reconfigure(fs_fd: int) -> None:
    """Apply the options to the file system of an fspick() context; this changes all its mounts."""
    _fsconfig(fs_fd, FSCONFIG_CMD_RECONFIGURE, None, None, 0)


def fspick(mount_fd: int) -> int:
    """Return a context to reconfigure the file system of the mount `mount_fd`; the caller closes it."""
    return _fspick(mount_fd, b"", FSPICK_EMPTY_PATH | FSPICK_CLOEXEC)


def fsmount(fs_fd: int, attributes: int) -> int:
    """Return a descriptor of a new, detached mount of the configured file system, with MOUNT_ATTR_*.

    The caller closes it, which unmounts it if it is not attached.
    """
    return _fsmount(fs_fd, FSMOUNT_CLOEXEC, attributes)


def mount_setattr(
    mount_fd: int, set_: int = 0, clear: int = 0, propagation: int = 0, recursive: bool = False, userns_fd: int = 0
) -> None:
    """Change MOUNT_ATTR_* of the mount (Linux 5.12), of all below it too when `recursive`."""
    attributes = words(set_, clear, propagation, userns_fd)  # struct mount_attr, mount_setattr(2)
    _mount_setattr(mount_fd, b"", AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0), attributes, len(attributes))
