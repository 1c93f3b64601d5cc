"""The directory of one controller in a cgroup: reading and writing its files."""

from errno import ENODEV, ENOENT

from foundation.linux import os, whole_file
from foundation.linux.opened import opened


class Controller:
    """`v2` says of which cgroup version the files in `directory` are."""

    def __init__(self, directory: str, v2: bool) -> None:
        self.directory = directory
        self.v2 = v2

    def path(self, name: str) -> str:
        """Return the path of the file `name`."""
        return f"{self.directory}/{name}"

    def has(self, name: str) -> bool:
        """Return whether the file exists: kernels and configurations differ in the files that they have."""
        return os.path.exists(self.path(name))

    def read(self, name: str) -> str:
        """Return the file's text, stripped. Raises OSError: see is_gone()."""
        return whole_file.read(self.path(name)).decode().strip()

    def write(self, name: str, *values: "str | int") -> None:
        """Write each of `values` in one write(2); the error names both the file and the value."""
        value = values[0]
        try:
            # No O_CREAT: with it cgroupfs reports a missing file as EACCES instead of ENOENT.
            with opened(os.open(self.path(name), os.O_WRONLY | os.O_CLOEXEC)) as fd:
                for value in values:
                    whole_file.write_value(fd, str(value).encode())
        except OSError as error:
            raise OSError(error.errno, error.strerror, f'write "{value}" to {self.path(name)}') from None


def nearest_existing(directory: str) -> str:
    """Return `directory` or its closest existing ancestor: a new child will support what that supports."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory


def is_gone(error: OSError) -> bool:
    """Return whether the cgroup was removed, before its file was opened (ENOENT) or after (ENODEV)."""
    return error.errno in (ENOENT, ENODEV)
