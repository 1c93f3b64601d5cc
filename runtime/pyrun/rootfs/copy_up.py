"""The mount option tmpcopyup: a new tmpfs starts with a copy of the image's directory that it covers."""

import _stat as stat
from errno import EINVAL

from foundation.linux import os
from foundation.linux.openat2 import RESOLVE_BENEATH, RESOLVE_NO_SYMLINKS, openat2
from foundation.linux.opened import opened
from pyrun.rootfs.tree import descriptor_path

_CHUNK = 1 << 20
_INSIDE = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS


def copy_up(source: int, target: int) -> None:
    """Copy the contents of the directory `source` into the directory `target`, with owners, modes and times.

    Both are descriptors, and the caller closes them. Symlinks are never followed, because the image is untrusted.
    Devices, FIFOs and sockets of the image are not copied. However deep the directories are nested, two are open at
    a time.
    """
    directories = [b"."]
    for path in directories:  # the list grows during the loop
        reading, writing = _open_both(path, source, target)
        with opened(reading), opened(writing):
            for name in map(os.fsencode, os.listdir(reading)):
                if _copy(name, reading, writing):
                    directories.append(path + b"/" + name)
    for path in reversed(directories):  # last, because writing into a directory changes its times
        reading, writing = _open_both(path, source, target)
        with opened(reading), opened(writing):
            _copy_attributes(os.fstat(reading), writing, path == b".")


def _open_both(path: bytes, source: int, target: int) -> "tuple[int, int]":
    reading = openat2(source, path, os.O_RDONLY | os.O_DIRECTORY, _INSIDE)
    try:
        return reading, openat2(target, path, os.O_RDONLY | os.O_DIRECTORY, _INSIDE)
    except OSError:
        os.close(reading)
        raise


def _copy_attributes(found: os.stat_result, directory: int, keeps_mode: bool) -> None:
    os.fchown(directory, found.st_uid, found.st_gid)
    if not keeps_mode:  # the mode of the tmpfs itself is set by a mount option
        os.fchmod(directory, stat.S_IMODE(found.st_mode))
    os.utime(directory, ns=(found.st_atime_ns, found.st_mtime_ns))


def _copy(name: bytes, source: int, target: int) -> bool:
    """Copy the file `name`; if it is a directory, make an empty one and return True."""
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISDIR(found.st_mode):
        os.mkdir(name, dir_fd=target)
        return True
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    elif stat.S_ISREG(found.st_mode):
        _copy_file(name, source, target)
    else:
        return False
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)  # after chown(2), which clears set-user-ID
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)
    return False


def _copy_file(name: bytes, source: int, target: int) -> None:
    # The name may have become a FIFO or a device since stat(2), so its type is checked again on an O_PATH descriptor.
    with opened(os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=source)) as found:
        if not stat.S_ISREG(os.fstat(found).st_mode):
            raise OSError(EINVAL, "is not a regular file any more", name)
        reading = os.open(descriptor_path(found), os.O_RDONLY | os.O_CLOEXEC)
    with opened(reading):
        new = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
        with opened(os.open(name, new, 0o600, dir_fd=target)) as writing:
            while os.sendfile(writing, reading, None, _CHUNK):
                pass  # sendfile(2) may copy less than asked, and returns 0 at the end of the file
