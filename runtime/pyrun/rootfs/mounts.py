"""The mounts of config.json: each is made detached, given its attributes, and then attached to a descriptor."""

import os
import stat
from errno import ELOOP, ENOTDIR

from pyrun.errors import Error
from pyrun.linux.mount import (
    AT_EMPTY_PATH,
    AT_RECURSIVE,
    AT_SYMLINK_NOFOLLOW,
    MOUNT_ATTR__ATIME,
    MOUNT_ATTR_RDONLY,
    MS_REC,
    OPEN_TREE_CLONE,
    fsconfig_create,
    fsconfig_reconfigure,
    fsconfig_set_flag,
    fsconfig_set_string,
    fsmount,
    fsopen,
    fspick,
    mount,
    mount_setattr,
    move_mount,
    open_tree,
)
from pyrun.linux.openat2 import RESOLVE_NO_SYMLINKS, openat2
from pyrun.rootfs.copy_up import copy_up
from pyrun.rootfs.options import COPY_SYMLINK, OF_MOUNT_ALONE, SOURCE_NOFOLLOW, MountOptions
from pyrun.rootfs.tree import Tree, descriptor_path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from pyrun.spec.config import Mount

# fsconfig(2) copies at most 256 bytes of a value, with its NUL.
MAXIMUM_VALUE = 255

# What lxcfs and its like may put over a file of procfs; anything else below /proc would let an image decide what the
# runtime and the container's processes read there (CVE-2019-16884, CVE-2019-19921).  The list is runc's.
PROC_FILES = (
    "/proc/cpuinfo",
    "/proc/diskstats",
    "/proc/meminfo",
    "/proc/stat",
    "/proc/swaps",
    "/proc/uptime",
    "/proc/loadavg",
    "/proc/slabinfo",
    "/proc/sys/kernel/ns_last_pid",
    "/proc/sys/crypto/fips_enabled",
)


# The policy labels what is in procfs and sysfs; mqueue takes no option, but an attribute of its root directory.
_LABELLED_BY_POLICY = ("proc", "sysfs", "mqueue")


class PlannedMount:
    """A mount of config.json with its options understood; made before anything has an effect.

    `label` is linux.mountLabel, "" where files keep the labels that they have.
    """

    def __init__(self, mount: "Mount", label: str = "") -> None:
        self.destination = os.path.normpath("/" + mount.destination.lstrip("/"))
        self.source = mount.source
        self.type = mount.type
        self.options = MountOptions(mount.options)
        self.is_bind = self.options.bind is not None or self.type == "bind"
        self.is_procfs = not self.is_bind and self.type == "proc"
        self.context = -1  # of fsopen(2), where another process has to open it
        self.mappings = (mount.uid_mappings, mount.gid_mappings)
        self.is_mapped = self.options.idmap is not None or bool(mount.uid_mappings)
        self.opened = -1  # the source of a bind, where the runtime has to open it
        self.is_cgroup = not self.is_bind and self.type in ("cgroup", "cgroup2")
        self.label = label
        if self.is_bind and self.options.data:
            raise mount.json.error("options", f"a bind mount takes no option {_shown(self.options.data[0])}")
        if self.options.copies_up and (self.is_bind or self.type != "tmpfs"):
            raise mount.json.error("options", '"tmpcopyup" is for a mount of type "tmpfs"')
        for option in {COPY_SYMLINK, SOURCE_NOFOLLOW} & set(mount.options) if not self.is_bind else ():
            raise mount.json.error("options", f'"{option}" is for a bind mount')
        if not self.is_bind and not self.type and not self.options.remounts:
            raise mount.json.error("type", 'is required, unless the options say "bind" or "rbind"')
        if self.is_bind and not self.source and not self.options.remounts:
            raise mount.json.error("source", "is required for a bind mount")
        if self.destination == "/proc" and self.type != "proc" and not self.is_bind:
            raise mount.json.error("destination", '"/proc" takes a mount of type "proc" or a bind of one')
        if self.destination.startswith("/proc/") and self.destination not in PROC_FILES:
            raise mount.json.error("destination", f'"{self.destination}" cannot be mounted because it is inside /proc')


def _shown(option: "tuple[str, str | None]") -> str:
    return f'"{option[0]}"' if option[1] is None else f'"{option[0]}={option[1]}"'


def attach(tree: Tree, planned: PlannedMount, writable: bool = False) -> int:
    """Mount `planned` into the tree and return a descriptor of the mount's root; of the symlink, where "copy-symlink"
    makes one instead.

    `writable` leaves out "ro": for /dev, until the devices are in it (make_read_only).

    Must run in the container's namespaces: procfs shows the pid namespace that who opened its context is in, sysfs the
    network namespace, mqueue the IPC namespace.
    """
    try:
        if planned.options.copies_symlink and os.path.islink(planned.source):
            return _copy_symlink(tree, planned)
        if planned.options.remounts:
            fd = _remount(tree, planned)
        else:
            fd = _bind(tree, planned) if planned.is_bind else _new(tree, planned, writable)
        propagate(fd, planned.options)
        return fd
    except OSError as error:
        error.filename = None
        raise Error(f"{describe(planned)}: {error.strerror}") from error


def describe(planned: PlannedMount) -> str:
    what = planned.source if planned.is_bind else planned.type
    return f'error mounting "{what}" to rootfs at "{planned.destination}"'


def _remount(tree: Tree, planned: PlannedMount) -> int:
    """Change the mount at the destination, and what it does not mention not; without "bind", its file system too."""
    options = planned.options
    target = tree.open(planned.destination)
    fd = open_tree(b"", AT_EMPTY_PATH, dirfd=target)
    os.close(target)
    change_attributes(fd, *options.attributes)
    change_attributes(fd, *options.recursive, recursive=True)
    if not planned.is_bind:
        read_only = [name for name in ("ro", "rw") if name in options.names()]
        context = fspick(fd)
        try:
            _set_parameters(context, planned.type, read_only + options.words(remount=True), options.data)
            fsconfig_reconfigure(context)
        finally:
            os.close(context)
    return fd


def _copy_symlink(tree: Tree, planned: PlannedMount) -> int:
    parent, name = tree.open_parent(planned.destination)
    target = os.readlink(planned.source)
    try:
        try:
            os.symlink(target, name, dir_fd=parent)
        except FileExistsError:
            pass  # compared with what is wanted below
        fd = os.open(name, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=parent)
        if not stat.S_ISLNK(os.fstat(fd).st_mode) or os.readlink(b"", dir_fd=fd) != os.fsencode(target):
            raise Error(f"{describe(planned)}: the destination is there, and is not the same symlink")
        return fd
    finally:
        os.close(parent)


def _bind(tree: Tree, planned: PlannedMount) -> int:
    fd = planned.opened if planned.opened >= 0 else open_source(planned)
    if planned.destination == "/proc" and not _is_procfs(fd):
        raise Error(f"{describe(planned)}: the source is not procfs")
    change_attributes(fd, *planned.options.attributes)
    change_attributes(fd, *planned.options.recursive, recursive=True)
    is_directory = stat.S_ISDIR(os.fstat(fd).st_mode)
    return attach_to(open_mount_point(tree, planned, is_directory), fd)


def open_source(planned: PlannedMount) -> int:
    """Return a detached copy of the source of the bind `planned`."""
    try:
        flags = AT_RECURSIVE if planned.options.bind else 0
        if not planned.options.follows_source:
            flags |= AT_SYMLINK_NOFOLLOW
        return open_tree(os.fsencode(planned.source), OPEN_TREE_CLONE | flags)
    except OSError as error:
        raise Error(f"{describe(planned)}: {planned.source}: {error.strerror}") from error


def open_mount_point(tree: Tree, planned: PlannedMount, is_directory: bool = True) -> int:
    """Open the destination, made where it is missing; it must not lie in procfs by a symlink of the image's."""
    make = tree.make_directory if is_directory else tree.make_file
    target = make(planned.destination)
    resolved = tree.path_of(target)
    if resolved != planned.destination and (resolved + "/").startswith("/proc/"):
        os.close(target)
        raise Error(f"{describe(planned)}: the destination is a symlink, and {resolved} is inside /proc")
    return target


def _is_procfs(fd: int) -> bool:
    """Tell procfs from all else by what no other file system has: the inode number of its root, fs/proc/root.c."""
    return os.fstat(fd).st_ino == 1 and os.path.exists(descriptor_path(fd) + b"/self/stat")


def _new(tree: Tree, planned: PlannedMount, writable: bool) -> int:
    options = planned.options
    set_ = options.attributes[0] & ~(MOUNT_ATTR_RDONLY if writable else 0)
    if planned.type in ("proc", "sysfs"):
        target = _ordinary_directory(tree, planned)
    elif planned.type == "tmpfs":
        return _new_tmpfs(tree, planned, set_)
    else:
        target = open_mount_point(tree, planned)
    data = options.data + label_option("" if planned.type in _LABELLED_BY_POLICY else planned.label)
    if planned.context < 0 and _is_classic(options, data):
        fd = _mount_by_string(tree, target, planned, set_, data)
        os.close(target)
    else:
        context = planned.context if planned.context >= 0 else fsopen(planned.type.encode())
        fd = attach_to(target, configure(context, planned.type, planned.source, set_, options.words(), data))
    if planned.type == "mqueue" and planned.label:
        os.setxattr(descriptor_path(fd), "security.selinux", planned.label.encode())
    change_attributes(fd, *options.recursive, recursive=True)
    return fd


def _new_tmpfs(tree: Tree, planned: PlannedMount, attributes: int) -> int:
    """A tmpfs has the mode of the directory that it covers; where there was none, its own default, 1777."""
    options = planned.options
    mode = _mode(tree, planned.destination)
    target = open_mount_point(tree, planned)
    data = options.data + label_option(planned.label)
    if mode is not None and not any(key == "mode" for key, _ in data):
        data.append(("mode", f"{mode:o}"))
    late = MOUNT_ATTR_RDONLY if options.copies_up else 0
    classic = _is_classic(options, data)
    if classic:
        fd = _mount_by_string(tree, target, planned, attributes & ~late, data)
    else:
        fd = new_filesystem(planned.type, planned.source, attributes & ~late, options.words(), data)
    if options.copies_up:
        copy_up(target, fd)
        change_attributes(fd, attributes & late, 0)
    if classic:
        os.close(target)
    else:
        attach_to(target, fd)
    change_attributes(fd, *options.recursive, recursive=True)
    return fd


def label_option(label: str) -> "list[tuple[str, str | None]]":
    """Return the option that gives all files of a file system the SELinux label `label`, or none for ""."""
    return [("context", label)] if label else []


def _mode(tree: Tree, path: str) -> "int | None":
    """Return the permissions of the directory `path`, None where there is none."""
    try:
        fd = tree.open(path)
    except FileNotFoundError:
        return None
    mode = stat.S_IMODE(os.fstat(fd).st_mode)
    os.close(fd)
    return mode


def _ordinary_directory(tree: Tree, planned: PlannedMount) -> int:
    """Open the mount point of procfs or sysfs, which must not be a symlink: masks and labels go below it by name.

    CVE-2019-19921, CVE-2023-27561: an image whose /proc is a symlink gets its masks somewhere else. Not looked at first
    and opened then, since a container that has the same root file system could replace it between the two.
    """
    parent, name = tree.open_parent(planned.destination)
    try:
        try:
            os.mkdir(name, 0o755, dir_fd=parent)
        except FileExistsError:
            pass  # the usual case
        return openat2(parent, name, os.O_PATH | os.O_DIRECTORY, RESOLVE_NO_SYMLINKS)
    except OSError as error:
        if error.errno not in (ELOOP, ENOTDIR):
            raise
        raise Error(
            f'filesystem "{planned.type}" must be mounted on ordinary directory: {planned.destination}'
        ) from error
    finally:
        os.close(parent)


def new_filesystem(
    type_: str, source: str, attributes: int, flags: "list[str]", data: "list[tuple[str, str | None]]"
) -> int:
    """Return a detached mount of a new file system, with MOUNT_ATTR_* and the superblock's `flags`."""
    return configure(fsopen(os.fsencode(type_)), type_, source, attributes, flags, data)


def configure(
    fs: int, type_: str, source: str, attributes: int, flags: "list[str]", data: "list[tuple[str, str | None]]"
) -> int:
    """The same from the context `fs`, which is closed."""
    try:
        if source:
            fsconfig_set_string(fs, b"source", os.fsencode(source))
        _set_parameters(fs, type_, flags, data)
        fsconfig_create(fs)
        return fsmount(fs, attributes)
    finally:
        os.close(fs)


def _set_parameters(fs: int, type_: str, flags: "list[str]", data: "list[tuple[str, str | None]]") -> None:
    for flag in flags:
        fsconfig_set_flag(fs, flag.encode())
    for key, value in data:
        try:
            if value is None:
                fsconfig_set_flag(fs, os.fsencode(key))
            else:
                fsconfig_set_string(fs, os.fsencode(key), os.fsencode(value))
        except OSError as error:
            raise Error(f'mount option {_shown((key, value))} of "{type_}": {error.strerror}') from error


def _is_classic(options: MountOptions, data: "list[tuple[str, str | None]]") -> bool:
    """Tell whether only mount(2) can make it: overlay's lowerdir is long, and two flags have no word."""
    long = any(value is not None and len(os.fsencode(value)) > MAXIMUM_VALUE for _, value in data)
    return long or bool(options.superblock_flags & OF_MOUNT_ALONE)


def _mount_by_string(
    tree: Tree, target: int, planned: PlannedMount, attributes: int, data: "list[tuple[str, str | None]]"
) -> int:
    """Mount on `target` by the classic call, whose data may be as long as a page; return the mount's descriptor."""
    # Quotes are for SELinux, which takes them off: a label with categories has commas in it.
    pairs = [(key, f'"{value}"' if key == "context" else value) for key, value in data]
    text = ",".join(key if value is None else f"{key}={value}" for key, value in pairs)
    source, type_ = os.fsencode(planned.source), planned.type.encode()
    mount(source, descriptor_path(target), type_, planned.options.superblock_flags, os.fsencode(text))
    # The call returns no descriptor, and `target` is what the mount lies on: only by its path is it found, which must
    # lead there still, whoever else writes to the root file system.
    fd = tree.open(planned.destination)
    if os.readlink(descriptor_path(fd)) != os.readlink(descriptor_path(target)):
        raise Error(f"{planned.destination} was moved while it was mounted on")
    change_attributes(fd, attributes, MOUNT_ATTR__ATIME)
    return fd


def attach_to(target: int, fd: int) -> int:
    """Attach the detached mount `fd` to `target`, which is closed, and return `fd`."""
    try:
        move_mount(fd, target)
    finally:
        os.close(target)
    return fd


def change_attributes(fd: int, set_: int, clear: int, recursive: bool = False) -> None:
    if set_ or clear:
        # A value of the clock field is only accepted together with a clear of the whole field (mount_setattr(2)).
        clock = MOUNT_ATTR__ATIME if (set_ | clear) & MOUNT_ATTR__ATIME else 0
        mount_setattr(fd, set_, clear & ~set_ & ~MOUNT_ATTR__ATIME | clock, recursive=recursive)


def propagate(fd: int, options: MountOptions) -> None:
    for propagation in options.propagations:
        mount_setattr(fd, propagation=propagation & ~MS_REC, recursive=bool(propagation & MS_REC))


def make_read_only(tree: Tree, path: str) -> None:
    fd = tree.open(path)
    mount_setattr(fd, MOUNT_ATTR_RDONLY)
    os.close(fd)


def bind_over(source_fd: int, target_fd: int, read_only: bool = False, recursive: bool = False) -> int:
    """Bind what `source_fd` is open on over what `target_fd` is open on; return the new mount's descriptor."""
    fd = open_tree(b"", AT_EMPTY_PATH | OPEN_TREE_CLONE | (AT_RECURSIVE if recursive else 0), dirfd=source_fd)
    if read_only:
        mount_setattr(fd, MOUNT_ATTR_RDONLY, recursive=recursive)
    move_mount(fd, target_fd)
    return fd
