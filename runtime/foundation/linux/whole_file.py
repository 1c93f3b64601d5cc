"""Read whole files, and write files whole or not at all.

write(2) takes only a part of the data if the disk is nearly full, at RLIMIT_FSIZE, or if a signal arrives. The error of
a read(2) or write(2) does not name the file; here it does.
"""

import sys
from errno import EIO, EISDIR, EOPNOTSUPP

from foundation.linux import os

_CHUNK = 1 << 16
# open(2), O_TMPFILE: the file system, or the kernel, has no such files.
_NO_TMPFILE = (EOPNOTSUPP, EISDIR)


def read(path: "str | bytes", most: int = sys.maxsize) -> bytes:
    """Return the content of the file `path`. If it has more than `most` bytes, a part that is longer than `most`."""
    fd = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return read_all(fd, path, most)
    finally:
        os.close(fd)


def read_all(fd: int, path: "str | bytes", most: int = sys.maxsize) -> bytes:
    """Return the same from the descriptor `fd`, which stays open; errors call it `path`."""
    found = bytearray()
    try:
        while len(found) <= most and (part := os.read(fd, _CHUNK)):
            found += part
    except OSError as error:
        error.filename = path
        raise
    return bytes(found)


def write_all(fd: int, data: "bytes | memoryview") -> None:
    """Write all of `data` to `fd`. Raises the OSError of the write(2) that failed, such as ENOSPC."""
    rest = memoryview(data)
    while rest:
        rest = rest[os.write(fd, rest) :]


def write_all_at(fd: int, data: "bytes | memoryview", offset: int) -> None:
    """The same at `offset` of the file, by pwrite(2): the descriptor's own position stays."""
    rest = memoryview(data)
    while rest:
        written = os.pwrite(fd, rest, offset)
        rest, offset = rest[written:], offset + written


def to_standard_error(text: str) -> None:
    """Write `text`. There is no other place to report that standard error is closed or full, so that is ignored."""
    try:
        write_all(2, text.encode("utf-8", "replace"))
    except OSError:
        pass


def write_value(fd: int, value: bytes) -> None:
    """Write `value` to a file in procfs, sysfs or a cgroup by one write(2): a second one would set another value."""
    if os.write(fd, value) != len(value):
        raise OSError(EIO, "only a part of the value was taken")


def set_value(path: str, value: bytes) -> None:
    """write_value() to the file `path`, which exists. Raises OSError with `path`."""
    fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    try:
        write_value(fd, value)
    except OSError as error:
        error.filename = path  # write(2) does not know it
        raise
    finally:
        os.close(fd)


def create(path: str, data: bytes, mode: int = 0o600, soon: bool = False) -> None:
    """Create the file `path`, which must not exist, with `data`. After an error it does not exist.

    `soon`: the data is on its way to the disk at once, which is not waited for. Otherwise the name may be on the disk
    up to 30 s before the data, so that a power failure leaves an empty file: on XFS, and on ext4 if the name is new.
    """
    fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        write_all(fd, data)
        if soon:
            from foundation.linux import writeback  # ctypes is large, and the brief verbs write nothing to a disk

            writeback.begin(fd)
    except BaseException as error:
        os.unlink(path)
        if isinstance(error, OSError):
            error.filename = path  # write(2) does not know it
        raise
    finally:
        os.close(fd)


def put(path: str, data: bytes, temporary: str, mode: int = 0o600) -> None:
    """Like replace(), for a file that usually does not exist yet: then a killed process leaves nothing behind.

    The file is written without a name (O_TMPFILE), and linked to `path` when it is whole.
    """
    try:
        fd = os.open(os.path.dirname(path) or ".", os.O_TMPFILE | os.O_WRONLY | os.O_CLOEXEC, mode)
    except OSError as error:
        if error.errno not in _NO_TMPFILE:
            raise
        return replace(path, data, temporary, mode)
    try:
        write_all(fd, data)
        # See open(2), O_TMPFILE. Python passes AT_SYMLINK_FOLLOW only if a directory is given; its value is not used.
        os.link(f"/proc/self/fd/{fd}", path, src_dir_fd=fd)
    except FileExistsError:
        replace(path, data, temporary, mode)
    finally:
        os.close(fd)


def replace(path: str, data: bytes, temporary: str, mode: int = 0o600, soon: bool = False) -> None:
    """Replace the file `path` by one with `data`: a reader finds either all of the data or the previous file.

    `soon` is that of create(). `temporary` is a path in the same directory that no other program uses. An existing file
    there was left by a killed process or planted by an attacker, and is removed.
    """
    try:
        _remove(temporary)
        create(temporary, data, mode, soon)
        try:
            os.rename(temporary, path)
        except BaseException:
            _remove(temporary)
            raise
    except OSError as error:
        error.filename, error.filename2 = path, None  # our caller does not know the temporary name
        raise


def _remove(path: str) -> None:
    try:
        os.unlink(path)
    except FileNotFoundError:
        pass
