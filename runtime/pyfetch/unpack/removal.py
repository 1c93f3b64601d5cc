"""The removal of files that somebody else has made, and may be changing: by descriptor, one name at a time."""

import errno
import stat

from foundation.linux import os
from foundation.linux.opened import become
from pyfetch.unpack.tree import OPEN_DIRECTORY, children, is_limited


def remove_path(path: str) -> None:
    """Remove what is at `path`, whatever it is. An error names the whole path of what could not be removed."""
    folder, name = os.path.split(path)
    above = os.open(folder, OPEN_DIRECTORY)
    try:
        remove(name, above)
    except OSError as error:
        raise OSError(error.errno, error.strerror, os.path.join(folder, os.fsdecode(error.filename or name))) from error
    finally:
        os.close(above)


def remove(name: "bytes | str", above: int) -> bool:
    """Remove `name` in the directory `above`, whatever it is; return whether it was there."""
    try:
        os.unlink(name, dir_fd=above)
    except FileNotFoundError:
        return False
    except (IsADirectoryError, PermissionError):  # POSIX allows EPERM for a directory
        remove_directory(os.fsencode(name), above)
    return True


def remove_directory(name: bytes, above: int) -> None:
    """Remove the directory `name` with all that is in it, however deep: one descriptor at a time, no recursion.

    A container that has the same volume may move a directory meanwhile: ".." of that is not where we came from, and
    would lead up and out of the volume.
    """
    here = _open_to_remove(name, above)
    names, ways_back = [name], [os.fstat(above)]
    try:
        pending = [_unlink_files(here)]
        while pending:
            if pending[-1]:
                below = pending[-1].pop()
                ways_back.append(os.fstat(here))
                become(here, _open_to_remove(below, here))
                names.append(below)
                pending.append(_unlink_files(here))
                continue
            pending.pop()
            become(here, os.open("..", OPEN_DIRECTORY, dir_fd=here))
            if not os.path.samestat(os.fstat(here), ways_back.pop()):
                raise OSError(errno.ESTALE, "was moved while it was removed")
            os.rmdir(names.pop(), dir_fd=here)
    except OSError as error:
        path = b"/".join([*names, *([os.fsencode(error.filename)] if isinstance(error.filename, (str, bytes)) else [])])
        raise OSError(error.errno, error.strerror, path) from error
    finally:
        os.close(here)


def _open_to_remove(name: bytes, above: int) -> int:
    """Open a directory, so that what is in it can be removed."""
    if is_limited():
        status = os.stat(name, dir_fd=above, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode) and status.st_mode & 0o700 != 0o700 and status.st_uid == os.geteuid():
            os.chmod(name, 0o700, dir_fd=above)
    return os.open(name, OPEN_DIRECTORY, dir_fd=above)


def _unlink_files(directory: int) -> "list[bytes]":
    """Unlink everything in `directory` but directories, whose names are returned."""
    directories = []
    for name, is_directory in children(directory):
        if is_directory:
            directories.append(name)
        else:
            os.unlink(name, dir_fd=directory)
    return directories
