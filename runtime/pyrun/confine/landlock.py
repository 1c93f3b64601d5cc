"""Landlock: a ruleset for the processes of a container, made in its root; the last mile restricts itself by it."""

import os
import stat

from pyrun.errors import Error
from pyrun.linux.landlock import landlock_abi, landlock_add_path, landlock_add_port, landlock_create_ruleset
from pyrun.spec.landlock import FILE_ACCESS, landlock

# Rights that a rule for a file can have; the others are about what is in a directory.
_OF_FILES = ("execute", "write_file", "read_file", "truncate", "ioctl_dev")
_FILE_MASK = sum(1 << bit for bit, name in enumerate(FILE_ACCESS) if name in _OF_FILES)


class Rules:
    """What the annotation asks for, checked against this kernel; `descriptor` is the ruleset when that is made."""

    def __init__(self, annotations: "dict[str, str]") -> None:
        wanted = landlock(annotations)
        assert wanted  # who calls has looked for it
        version = landlock_abi()
        if not version:
            raise wanted.json.error("", "Landlock is not enabled on this machine")
        if wanted.version > version:
            reason = f"needs version {wanted.version} of Landlock, and this kernel has {version}"
            raise wanted.json.error("ruleset", reason)
        self.wanted = wanted
        self.descriptor = -1

    def make(self) -> None:
        """Make the ruleset. Must run in the container's root, whose paths it names."""
        wanted = self.wanted
        self.descriptor = landlock_create_ruleset(wanted.file_access, wanted.network_access, wanted.scoped)
        for access, path in wanted.paths:
            try:
                _allow(self.descriptor, access, path)
            except OSError as error:
                raise Error(f"landlock: {path}: {error.strerror}") from error
        for access, port in wanted.ports:
            landlock_add_port(self.descriptor, access, port)


def _allow(ruleset: int, access: int, path: str) -> None:
    fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        if not stat.S_ISDIR(os.fstat(fd).st_mode):
            access &= _FILE_MASK
        if access:
            landlock_add_path(ruleset, access, fd)
    finally:
        os.close(fd)
