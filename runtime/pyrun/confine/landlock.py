"""Landlock: the rows by which the stub makes a ruleset in the container's root, and restricts itself by it
(landlock(7))."""

from errno import EINVAL, ENOMSG

from foundation.linux import os
from foundation.linux.landlock import (
    LANDLOCK_RULE_NET_PORT,
    LANDLOCK_RULE_PATH_BENEATH,
    RULESET_ATTR_SIZE,
    landlock_abi,
    path_beneath,
)
from foundation.linux.openat2 import AT_FDCWD, HOW_SIZE
from pyrun.config.landlock import FILE_ACCESS, landlock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.stub.table import Table

# Rights that a rule for a file can have; the others are rights to the entries of a directory.
_OF_FILES = ("execute", "write_file", "read_file", "truncate", "ioctl_dev")
_FILE_MASK = sum(1 << bit for bit, name in enumerate(FILE_ACCESS) if name in _OF_FILES)


class Rules:
    """The rules of the annotation, checked against this kernel. Raises ConfigError if it does not support them."""

    def __init__(self, annotations: "dict[str, str]") -> None:
        wanted = landlock(annotations)
        assert wanted  # the caller has checked that the annotation is set
        version = landlock_abi()
        if not version:
            raise wanted.json.error("", "Landlock is not enabled on this machine")
        if wanted.version > version:
            reason = f"needs version {wanted.version} of Landlock, and this kernel has {version}"
            raise wanted.json.error("ruleset", reason)
        self.wanted = wanted

    def place(self, table: "Table") -> None:
        """Append the rows."""
        wanted = self.wanted
        attr = table.words(wanted.file_access, wanted.network_access, wanted.scoped)
        ruleset = table.open("landlock_create_ruleset", attr, RULESET_ATTR_SIZE, 0)
        for access, path in wanted.paths:
            _allow(table, ruleset, access, path)
        for access, port in wanted.ports:
            table.call("landlock_add_rule", ruleset, LANDLOCK_RULE_NET_PORT, table.words(access, port), 0)
        table.call("landlock_restrict_self", ruleset, 0, label="restrict by Landlock")
        table.close(ruleset)


def _allow(table: "Table", ruleset: int, access: int, path: str) -> None:
    """Append the rows that allow `access` to `path`.

    If it is not a directory, the kernel refuses rights to entries of one (EINVAL): the second rule leaves these out,
    and adds nothing to the first if that was accepted. ENOMSG: no right is left.
    """
    how = table.words(os.O_PATH | os.O_CLOEXEC, 0, 0)
    fd = table.open("openat2", AT_FDCWD, table.string(path.encode()), how, HOW_SIZE, label=f"landlock: {path}")
    for rights, excused in ((access, EINVAL), (access & _FILE_MASK, ENOMSG)):
        rule = table.block(path_beneath(rights, fd))
        table.call("landlock_add_rule", ruleset, LANDLOCK_RULE_PATH_BENEATH, rule, 0, excused=(excused,))
    table.close(fd)
