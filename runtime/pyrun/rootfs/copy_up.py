"""The option tmpcopyup: a tmpfs begins with what the image has at its place."""

import os
import stat

_CHUNK = 1 << 20


def copy_up(source: int, target: int) -> None:
    """Copy what is in the directory `source` into the directory `target`, with owners, modes and times.

    Both are descriptors. Names are resolved one at a time and symlinks never followed: the source is the image's.
    Devices and sockets stay behind: what an image brings of them is nobody's to use.
    """
    reading = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=source)
    writing = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=target)
    try:
        for name in os.listdir(reading):
            _copy(name, reading, writing)
        found = os.fstat(reading)
        os.fchown(writing, found.st_uid, found.st_gid)
        os.utime(writing, ns=(found.st_atime_ns, found.st_mtime_ns))
    finally:
        os.close(reading)
        os.close(writing)


def _copy(name: str, source: int, target: int) -> None:
    found = os.stat(name, dir_fd=source, follow_symlinks=False)
    if stat.S_ISLNK(found.st_mode):
        os.symlink(os.readlink(name, dir_fd=source), name, dir_fd=target)
    elif stat.S_ISDIR(found.st_mode):
        os.mkdir(name, dir_fd=target)
        _copy_directory(name, source, target)
    elif stat.S_ISREG(found.st_mode):
        _copy_file(name, source, target)
    else:
        return
    os.chown(name, found.st_uid, found.st_gid, dir_fd=target, follow_symlinks=False)
    if not stat.S_ISLNK(found.st_mode):
        os.chmod(name, stat.S_IMODE(found.st_mode), dir_fd=target)  # after chown(2), which takes set-user-ID away
    os.utime(name, ns=(found.st_atime_ns, found.st_mtime_ns), dir_fd=target, follow_symlinks=False)


def _copy_directory(name: str, source: int, target: int) -> None:
    flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
    reading, writing = os.open(name, flags, dir_fd=source), os.open(name, flags, dir_fd=target)
    try:
        copy_up(reading, writing)
    finally:
        os.close(reading)
        os.close(writing)


def _copy_file(name: str, source: int, target: int) -> None:
    # O_NONBLOCK: the name may be a FIFO by now, whose open would wait for a writer.
    reading = os.open(name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=source)
    try:
        writing = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=target)
        try:
            while os.sendfile(writing, reading, None, _CHUNK):
                pass  # sendfile(2) copies what it can, and tells 0 at the end
        finally:
            os.close(writing)
    finally:
        os.close(reading)
