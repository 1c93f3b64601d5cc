"""One controller's directory in a cgroup: reading and writing its files."""

import os


class Controller:
    """`v2` tells which version's files are in `directory`."""

    def __init__(self, directory: str, v2: bool) -> None:
        self.directory = directory
        self.v2 = v2

    def path(self, name: str) -> str:
        return f"{self.directory}/{name}"

    def has(self, name: str) -> bool:
        return os.path.exists(self.path(name))

    def read(self, name: str) -> str:
        with open(self.path(name), "rb", buffering=0) as file:
            return file.read().decode().strip()

    def write(self, name: str, *values: "str | int") -> None:
        """Write each of `values` in one write(2); the error names both the file and the value."""
        value = values[0]
        try:
            # Not O_CREAT: on a file that is not there cgroupfs would say EACCES instead of ENOENT.
            fd = os.open(self.path(name), os.O_WRONLY | os.O_CLOEXEC)
            try:
                for value in values:
                    os.write(fd, str(value).encode())
            finally:
                os.close(fd)
        except OSError as error:
            raise OSError(error.errno, error.strerror, f'write "{value}" to {self.path(name)}') from None


def nearest_existing(directory: str) -> str:
    """Return `directory` or the closest of its ancestors that is there: what it supports, a new child will support."""
    while not os.path.isdir(directory):
        directory = os.path.dirname(directory)
    return directory
