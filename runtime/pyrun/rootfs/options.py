"""The options of a mount in config.json, and what each means to the kernel.

Source: runtime-spec 1.3, config.md#linux-mount-options.  An option that is in no table is the file system's own.
"""

from pyrun.linux.mount import (
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_NOATIME,
    MOUNT_ATTR_NODEV,
    MOUNT_ATTR_NODIRATIME,
    MOUNT_ATTR_NOEXEC,
    MOUNT_ATTR_NOSUID,
    MOUNT_ATTR_NOSYMFOLLOW,
    MOUNT_ATTR_RDONLY,
    MOUNT_ATTR_RELATIME,
    MOUNT_ATTR_STRICTATIME,
    MS_DIRSYNC,
    MS_I_VERSION,
    MS_LAZYTIME,
    MS_MANDLOCK,
    MS_PRIVATE,
    MS_REC,
    MS_SHARED,
    MS_SILENT,
    MS_SLAVE,
    MS_SYNCHRONOUS,
    MS_UNBINDABLE,
)

# option: (attributes to set, attributes to clear); a clock option first clears the whole field (mount_setattr(2))
ATTRIBUTES = {
    "ro": (MOUNT_ATTR_RDONLY, 0),
    "rw": (0, MOUNT_ATTR_RDONLY),
    "nosuid": (MOUNT_ATTR_NOSUID, 0),
    "suid": (0, MOUNT_ATTR_NOSUID),
    "nodev": (MOUNT_ATTR_NODEV, 0),
    "dev": (0, MOUNT_ATTR_NODEV),
    "noexec": (MOUNT_ATTR_NOEXEC, 0),
    "exec": (0, MOUNT_ATTR_NOEXEC),
    "nodiratime": (MOUNT_ATTR_NODIRATIME, 0),
    "diratime": (0, MOUNT_ATTR_NODIRATIME),
    "nosymfollow": (MOUNT_ATTR_NOSYMFOLLOW, 0),
    "symfollow": (0, MOUNT_ATTR_NOSYMFOLLOW),
    "noatime": (MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME),
    "strictatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "relatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    # Their opposites go back to the kernel's default, which is relatime.
    "atime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "norelatime": (MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME),
    "nostrictatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
}

# "rro" is "ro" for the mount and all below it (Linux 5.12).
RECURSIVE_ATTRIBUTES = {f"r{name}": change for name, change in ATTRIBUTES.items()}

PROPAGATION = {
    "private": MS_PRIVATE,
    "rprivate": MS_PRIVATE | MS_REC,
    "shared": MS_SHARED,
    "rshared": MS_SHARED | MS_REC,
    "slave": MS_SLAVE,
    "rslave": MS_SLAVE | MS_REC,
    "unbindable": MS_UNBINDABLE,
    "runbindable": MS_UNBINDABLE | MS_REC,
}

# Flags of the file system's superblock: what mount(2) has for each, and whether the option sets it or takes it back.
SUPERBLOCK = {
    "sync": (MS_SYNCHRONOUS, True),
    "async": (MS_SYNCHRONOUS, False),
    "dirsync": (MS_DIRSYNC, True),
    "lazytime": (MS_LAZYTIME, True),
    "nolazytime": (MS_LAZYTIME, False),
    "mand": (MS_MANDLOCK, True),
    "nomand": (MS_MANDLOCK, False),
    "iversion": (MS_I_VERSION, True),
    "noiversion": (MS_I_VERSION, False),
    "silent": (MS_SILENT, True),
    "loud": (MS_SILENT, False),
}
# Those that fsconfig(2) has no word for (fs/fs_context.c), and those that a remount may change (MS_RMT_MASK).
OF_MOUNT_ALONE = MS_I_VERSION | MS_SILENT
_OF_REMOUNT = MS_SYNCHRONOUS | MS_MANDLOCK | MS_LAZYTIME

BIND = {"bind": False, "rbind": True}  # option: is it recursive
IDMAP = {"idmap": False, "ridmap": True}
COPY_UP = "tmpcopyup"
REMOUNT = "remount"
# Of crun, for a bind whose source is a symlink: make the same symlink; bind the symlink, and not what it leads to.
COPY_SYMLINK = "copy-symlink"
SOURCE_NOFOLLOW = "src-nofollow"

MOUNT_OPTIONS = sorted(
    {
        *ATTRIBUTES,
        *RECURSIVE_ATTRIBUTES,
        *PROPAGATION,
        *SUPERBLOCK,
        *BIND,
        *IDMAP,
        COPY_UP,
        REMOUNT,
        COPY_SYMLINK,
        SOURCE_NOFOLLOW,
        "defaults",
    }
)


class MountOptions:
    """The options of one mount, sorted by who acts on them.

    attributes, recursive   (set, clear) of MOUNT_ATTR_*
    propagations            MS_SHARED and its kin, with MS_REC, in order
    superblock              names of SUPERBLOCK, in order
    data                    (key, value) of the file system's own options; value None for a bare word
    bind, idmap             None, or whether it is recursive
    copies_up               whether a tmpfs begins with what is at its place
    remounts                whether it changes the mount that is at its place
    copies_symlink, follows_source   what becomes of a bind's source that is a symlink
    """

    def __init__(self, options: "list[str]") -> None:
        self.attributes = (0, 0)
        self.recursive = (0, 0)
        self.propagations: list[int] = []
        self.superblock: list[str] = []
        self.data: list[tuple[str, str | None]] = []
        self.bind: bool | None = None
        self.idmap: bool | None = None
        self.copies_up = COPY_UP in options
        self.remounts = REMOUNT in options
        self.copies_symlink = COPY_SYMLINK in options
        self.follows_source = SOURCE_NOFOLLOW not in options
        for option in options:
            self._add(option)

    def names(self) -> "list[str]":
        """Return the options in force, by their names: those that, given once more, would change nothing."""
        by_change = {change: name for name, change in reversed(ATTRIBUTES.items())}
        attributes = [name for change, name in by_change.items() if _later(self.attributes, change) == self.attributes]
        recursive = [
            f"r{name}" for change, name in by_change.items() if _later(self.recursive, change) == self.recursive
        ]
        propagations = [name for flags in self.propagations for name in PROPAGATION if PROPAGATION[name] == flags]
        data = [key if value is None else f"{key}={value}" for key, value in self.data]
        return [*attributes[::-1], *recursive[::-1], *propagations, *self.superblock, *data]

    @property
    def superblock_flags(self) -> int:
        """The flags of `superblock` for mount(2)."""
        flags = 0
        for name in self.superblock:
            flag, is_set = SUPERBLOCK[name]
            flags = flags | flag if is_set else flags & ~flag
        return flags

    def words(self, remount: bool = False) -> "list[str]":
        """Return the flags of `superblock` for fsconfig(2), in order; for a remount those that it can change."""
        known = _OF_REMOUNT if remount else ~OF_MOUNT_ALONE
        return [name for name in self.superblock if SUPERBLOCK[name][0] & known]

    @property
    def is_read_only(self) -> bool:
        return bool(self.attributes[0] & MOUNT_ATTR_RDONLY)

    def _add(self, option: str) -> None:
        if option in ATTRIBUTES:
            self.attributes = _later(self.attributes, ATTRIBUTES[option])
        elif option in RECURSIVE_ATTRIBUTES:
            self.recursive = _later(self.recursive, RECURSIVE_ATTRIBUTES[option])
        elif option in PROPAGATION:
            self.propagations.append(PROPAGATION[option])
        elif option in SUPERBLOCK:
            self.superblock.append(option)
        elif option in BIND:
            self.bind = bool(self.bind) or BIND[option]
        elif option in IDMAP:
            self.idmap = bool(self.idmap) or IDMAP[option]
        elif option not in ("defaults", COPY_UP, REMOUNT, COPY_SYMLINK, SOURCE_NOFOLLOW):
            key, equals, value = option.partition("=")
            self.data.append((key, value if equals else None))


def _later(changes: "tuple[int, int]", change: "tuple[int, int]") -> "tuple[int, int]":
    """Add `change` to `changes`; what comes later in the list of options wins."""
    set_, clear = change
    return (changes[0] & ~clear | set_, changes[1] & ~set_ | clear)
