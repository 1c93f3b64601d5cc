"""The options of a mount in config.json, and what each means to the kernel.

Source: runtime-spec 1.3, config.md#linux-mount-options.  An option that is in no table is passed to the file system.
"""

from foundation.linux.mount import (
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

# option: (attributes to set, attributes to clear); an access-time option clears the whole field (mount_setattr(2))
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
    # The opposites restore the kernel's default, relatime; "norelatime" names no other mode, so it changes nothing.
    "atime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
    "norelatime": (0, 0),
    "nostrictatime": (MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME),
}

# "rro" is "ro" for the mount and all mounts below it (Linux 5.12).
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

# Flags of the superblock: the flag of mount(2), and whether the option sets or clears it.
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
# Flags that fsconfig(2) has no word for (fs/fs_context.c), and flags that a remount may change (MS_RMT_MASK).
OF_MOUNT_ALONE = MS_I_VERSION | MS_SILENT
_OF_REMOUNT = MS_SYNCHRONOUS | MS_MANDLOCK | MS_LAZYTIME

# If a bind mount names any attribute, these attributes of its source are cleared unless it names them, too.
NOT_KEPT = (MOUNT_ATTR_RDONLY, MOUNT_ATTR_NOSUID, MOUNT_ATTR_NODEV, MOUNT_ATTR_NOEXEC, MOUNT_ATTR_NOSYMFOLLOW)

BIND = {"bind": False, "rbind": True}  # option: whether it is recursive
IDMAP = {"idmap": False, "ridmap": True}
COPY_UP = "tmpcopyup"
REMOUNT = "remount"
# Options of crun. If the source of a bind is a symlink: create the same symlink in the container, or bind the symlink
# itself instead of its target. If the destination is a symlink: mount on the symlink itself.
COPY_SYMLINK = "copy-symlink"
SOURCE_NOFOLLOW = "src-nofollow"
DESTINATION_NOFOLLOW = "dest-nofollow"

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
        DESTINATION_NOFOLLOW,
        "defaults",
    }
)


class MountOptions:
    """The options of one mount, sorted by the system call that they are for.

    attributes, recursive   (set, clear) of MOUNT_ATTR_*
    propagations            MS_SHARED, MS_SLAVE, MS_PRIVATE, MS_UNBINDABLE, with MS_REC, in order
    superblock              names of SUPERBLOCK, in order
    data                    (key, value) of the options for the file system; value None for a bare word
    bind, idmap             None, or whether it is recursive
    copies_up               whether a tmpfs starts with a copy of the directory that it covers
    remounts                whether it changes the mount at the destination
    copies_symlink, follows_source   what to do if the source of a bind is a symlink
    follows_destination     whether a symlink at the destination is followed
    ranges                  "uids" and "gids" of crun's idmap=uids=...;gids=..., as they are written there
    """

    def __init__(self, options: "list[str]") -> None:
        self.attributes = (0, 0)
        self.names_attributes = not ATTRIBUTES.keys().isdisjoint(options)
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
        self.follows_destination = DESTINATION_NOFOLLOW not in options
        self.ranges: dict[str, str] = {}
        for option in options:
            self._add(option)

    def names(self) -> "list[str]":
        """Return the names of the options in force: the options that would change nothing if they were given again."""
        by_change = {change: name for name, change in reversed(ATTRIBUTES.items()) if change != (0, 0)}
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
        """Return the words of `superblock` for fsconfig(2), in order; with `remount` only those that it can change."""
        known = _OF_REMOUNT if remount else ~OF_MOUNT_ALONE
        return [name for name in self.superblock if SUPERBLOCK[name][0] & known]

    @property
    def is_read_only(self) -> bool:
        """Whether "ro" is in force."""
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
        elif option.partition("=")[0] in IDMAP:
            name, _, ranges = option.partition("=")
            self.idmap = bool(self.idmap) or IDMAP[name]
            self.ranges.update(
                (kind, text) for kind, _, text in (one.partition("=") for one in ranges.split(";")) if kind
            )
        elif option not in ("defaults", COPY_UP, REMOUNT, COPY_SYMLINK, SOURCE_NOFOLLOW, DESTINATION_NOFOLLOW):
            key, equals, value = option.partition("=")
            self.data.append((key, value if equals else None))


def _later(changes: "tuple[int, int]", change: "tuple[int, int]") -> "tuple[int, int]":
    """Add `change` to `changes`; the later option wins."""
    set_, clear = change
    return (changes[0] & ~clear | set_, changes[1] & ~set_ | clear)


def are_ranges(ranges: "dict[str, str]") -> bool:
    """Return whether crun's "uids" and "gids" are both absent, or both given as "@FIRST-ON-DISK-SEEN-SIZE#..."."""
    if ranges and ranges.keys() != {"uids", "gids"}:
        return False
    numbers = [one.removeprefix("@").split("-") for text in ranges.values() for one in text.split("#")]
    return all(len(three) == 3 and all(part.isascii() and part.isdigit() for part in three) for three in numbers)


def shown(option: "tuple[str, str | None]") -> str:
    """Return an option (key, value) as messages name it."""
    return f'"{option[0]}"' if option[1] is None else f'"{option[0]}={option[1]}"'
